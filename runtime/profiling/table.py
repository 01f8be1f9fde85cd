"""A profile as people read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..brief import counted
from ..inspection.inspection import size_of
from .parts import OTHER
from .results import (
    Comparison,
    Machine,
    Profile,
    ProfileRow,
    Ratio,
    Recommendation,
    Start,
    Trace,
    Unavailable,
)

# With fewer calls a 99th percentile is little more than the slowest call.
ENOUGH_CALLS = 100
# A load average above this share of the processors means that something else was computing.
BUSY = 0.5

_FORMATS = {"onnx": "ONNX", "torchscript": "TorchScript", "pt2": "pt2"}
_COLUMNS = ("clips", "batch", "samples/s", "p50 ms", "p95 ms", "p99 ms", "calls", "video h/h", "memory MB")
_BAR = 24
_MOST_OPERATORS = 12


def to_text(profile: Profile) -> str:
    """Every section, aligned."""
    blocks = [_head(profile), _start(profile.start), _speed(profile), _trace(profile.trace)]
    title = "What tracking costs: this file against itself without its gates"
    blocks.append(_compared(title, profile.tracking, _cost))
    if profile.eager is not None:
        title = "Eager PyTorch with hooks that record the gates, against this file"
        blocks.append(_compared(title, profile.eager, _slowness))
    return "\n\n".join(blocks)


def _head(profile: Profile) -> str:
    subject, inputs = profile.subject, profile.inputs
    callers = f"; {inputs.concurrency} callers at once" if inputs.concurrency > 1 else ""
    versions = ", ".join(f"{name} {number}" for name, number in profile.machine.versions.items())
    rows = [
        *_machine(profile.machine),
        ("versions", versions),
        *(("samples", f"random, {told}{callers}") for told in inputs.lengths),
        *([("", inputs.rule)] if inputs.rule else []),
    ]
    title = (
        f"{subject.path}: {_FORMATS[subject.format]}, {subject.family}, {subject.gating} gating, "
        f"{subject.outputs} outputs, {size_of(subject.bytes)}"
    )
    return "\n".join([title, *(f"  {name:<8}  {value}" for name, value in rows)])


def _machine(machine: Machine) -> list[tuple[str, str]]:
    name = " ".join(filter(None, (machine.device.upper(), machine.gpu)))
    rows = [
        ("on", f"{name}, {counted(machine.threads, 'thread')} ({', '.join(machine.providers)})"),
        (
            "machine",
            f"{machine.cpu or 'unknown processor'}, {counted(machine.cpus, 'CPU')}; {machine.system}",
        ),
    ]
    if machine.load is not None and machine.load > BUSY * machine.cpus:
        told = f"it was busy before this began (load {machine.load:.1f}): idle it is faster than what follows"
        rows.append(("", told))
    return rows


def _start(start: Start) -> str:
    steps = [f"imports {start.import_seconds:.2f} s", f"opening the file {start.load_seconds:.2f} s"]
    if start.first_run_seconds is not None:
        steps.append(f"first run {start.first_run_seconds:.2f} s (batch {start.first_run_batch})")
    memory = start.method
    if start.libraries_bytes is not None and start.loaded_bytes is not None:
        memory = (
            f"{size_of(start.libraries_bytes)} for libraries, + {size_of(start.loaded_bytes)} at most while "
            f"the file is opened ({start.method})"
        )
    return f"Start, once, in a fresh process\n  {', '.join(steps)}\n  memory {memory}"


def _speed(profile: Profile) -> str:
    several = len(profile.inputs.lengths) > 1
    table = [list(_COLUMNS), *map(_cells, profile.rows)]
    widths = [max(len(line[i]) for line in table if i < len(line)) for i in range(len(_COLUMNS))]
    lines = [
        "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=False)) for line in table
    ]
    for place, row in enumerate(profile.rows, start=1):
        lines[place] += f"  {row.failure}" if row.failure else ""
    cut = 0 if several else widths[0] + 2
    notes = [_recommended(one, several) for one in profile.recommended]
    if profile.subject.batching == "reference":
        notes.append("in reference batching a sample's numbers change with its batch: keep the size you use")
    if any(row.failure is None and row.calls < ENOUGH_CALLS for row in profile.rows):
        notes.append(f"a p99 of fewer than {ENOUGH_CALLS} calls is little more than the slowest of them")
    if any(row.peak_bytes is not None for row in profile.rows):
        notes.append(
            "memory: how far the peak of a process rises that opens the file and computes such batches"
        )
    return "\n".join(["Speed", *(f"  {line[cut:]}" for line in lines), *(f"  {note}" for note in notes)])


def _cells(row: ProfileRow) -> list[str]:
    sizes = [str(row.clips), str(row.batch_size)]
    speeds = (row.samples_per_second, row.p50_ms, row.p95_ms, row.p99_ms)
    if row.failure is not None or row.video_hours_per_hour is None:
        return sizes
    return [
        *sizes,
        *(_digits(value) for value in speeds),
        str(row.calls),
        f"{row.video_hours_per_hour:,.0f}",
        "" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:,.0f}",
    ]


def _recommended(one: Recommendation, several: bool) -> str:
    at = f" at {one.clips} clips" if several else ""
    return (
        f"take batch {one.batch_size}{at}: {_digits(one.samples_per_second)} samples/s, the smallest within "
        f"3% of the best; an hour computes {one.video_hours_per_hour:,.0f} hours of video"
    )


def _trace(trace: Trace | Unavailable) -> str:
    if isinstance(trace, Unavailable):
        return f"Where the time goes\n  {trace.unavailable}"
    lines = [
        f"Where the time goes, by ONNX Runtime's profiler ({counted(trace.batch_size, 'sample')} at once on "
        f"{counted(trace.threads, 'thread')}, {trace.clips} clips, {trace.words} words, "
        f"{counted(trace.runs, 'run')})"
    ]
    most = max(part.share for part in trace.parts)
    longest = max(len(part.name) for part in trace.parts)
    for part in trace.parts:
        bar = "█" * round(_BAR * part.share / most)
        lines.append(
            f"  {part.name:<{longest}}  {part.share:6.1%}  {_digits(part.ms):>6} ms  "
            f"{counted(part.nodes, 'node'):>9}  {bar}".rstrip()
        )
    if [part.name for part in trace.parts] == [OTHER]:
        lines.append("  this file's nodes do not say which part they are: export it again")
    lines += [
        f"  {one.provider} computes {counted(one.nodes, 'node')}, {one.share:.1%} of the time"
        for one in trace.placement
    ]
    if trace.on_cpu:
        shown = [f"{count} × {name}" for name, count in list(trace.on_cpu.items())[:_MOST_OPERATORS]]
        more = len(trace.on_cpu) - len(shown)
        lines.append(f"  left to the CPU: {', '.join(shown)}" + (f" and {more} others" if more else ""))
    if trace.arena_bytes is not None:
        lines.append(f"  its memory arena held {size_of(trace.arena_bytes)}")
    return "\n".join(lines)


def _compared(title: str, found: Sequence[Comparison] | Unavailable, describe: Callable[[Ratio], str]) -> str:
    if isinstance(found, Unavailable):
        return f"{title}\n  {found.unavailable}"
    lines = [
        f"  batch {one.batch_size:<4} {describe(one.ratio)}, {counted(one.ratio.pairs, 'pair')})"
        for one in found
    ]
    return "\n".join([title, *lines])


def _cost(ratio: Ratio) -> str:
    low, middle, high = (f"{100 * (value - 1):+.1f}%" for value in (ratio.low, ratio.median, ratio.high))
    noise = "" if ratio.certain else ", not distinguishable from none"
    return f"{middle} time{noise} (middle half {low} to {high}"


def _slowness(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} times as long (middle half {ratio.low:.2f} to {ratio.high:.2f}"


def _digits(value: float | None) -> str:
    """Three digits that count, for numbers that span five orders of magnitude."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
