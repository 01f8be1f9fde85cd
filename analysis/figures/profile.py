"""``profile.png``: throughput and latency against the size of batches, and where the time of a run goes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
)

from ...runtime.brief import counted
from ...runtime.profiling.parts import OTHER
from ...runtime.profiling.results import Profile, ProfileRow, Trace, Unavailable
from .style import INK, MISSING, Figure, grid, heading, new_figure, png, series_colour, short, style

# Which of the series' colours a kind of part has, where it is not the first.
_KINDS = {"gates": 1, "t2v": 2, "encoder": 2, "decoder": 2, "heads": 2, "projection": 4}
_MOST_TICKS = 12


def profile_figure(profile: Profile) -> Figure:
    """Left throughput and latency over sizes of batch, one line for each length; right time by part.

    Files whose parts no profiler can tell have no right panel.
    """
    groups = [
        (clips, [row for row in rows if row.failure is None])
        for clips, rows in groupby(profile.rows, key=lambda row: row.clips)
    ]
    groups = [(clips, rows) for clips, rows in groups if rows]
    with style():
        trace = profile.trace if isinstance(profile.trace, Trace) else None
        figure = new_figure(13 if trace else 9, 4.6)
        panels = figure.subplots(1, 3 if trace else 2, width_ratios=[1, 1, 1.25][: 3 if trace else 2])
        throughput, latency = panels[:2]
        for place, (clips, rows) in enumerate(groups):
            colour = series_colour(place)
            _draw_throughput(throughput, rows, colour, f"{clips} clips")
            _draw_latency(latency, rows, colour, f"{clips} clips: " if len(groups) > 1 else "")
        for one in profile.recommended:
            _mark(throughput, one.batch_size, one.samples_per_second)
        sizes = sorted({row.batch_size for _, rows in groups for row in rows})
        for axes in (throughput, latency):
            _batch_axis(axes, sizes)
        if len(groups) > 1:
            throughput.legend(loc="lower right")
        best = max(row.samples_per_second or 0.0 for _, rows in groups for row in rows)
        throughput.set(title="Throughput", ylabel="samples per second", ylim=(0, 1.15 * best))
        latency.set(title="Latency of a call", ylabel="milliseconds (log scale)", yscale="log")
        latency.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        latency.yaxis.set_minor_locator(NullLocator())
        latency.yaxis.set_major_formatter(FuncFormatter(_plain))
        latency.legend(loc="upper left")
        if trace is not None:
            _draw_parts(panels[2], trace)
        heading(figure, "Speed of an exported model", _subtitle(profile, 165 if trace else 110))
    return figure


def profile_png(profile: Profile) -> bytes:
    """The figure as a PNG file; found by ``gatescope profile`` under the plug-in name ``profile-figure``."""
    return png(profile_figure(profile))


def _draw_throughput(axes: Axes, rows: Sequence[ProfileRow], colour: str, label: str) -> None:
    axes.plot(
        [row.batch_size for row in rows],
        [row.samples_per_second or 0.0 for row in rows],
        "o-",
        color=colour,
        linewidth=1.6,
        markersize=5,
        label=label,
    )
    grid(axes, "y")


def _draw_latency(axes: Axes, rows: Sequence[ProfileRow], colour: str, label: str) -> None:
    sizes = [row.batch_size for row in rows]
    p50, p99 = [row.p50_ms or 0.0 for row in rows], [row.p99_ms or 0.0 for row in rows]
    axes.plot(sizes, p50, "o-", color=colour, linewidth=1.6, markersize=5, label=f"{label}median")
    axes.plot(sizes, p99, color=colour, linewidth=1.0, linestyle=(0, (4, 2)), label=f"{label}p99")
    axes.fill_between(sizes, p50, p99, color=colour, alpha=0.12, linewidth=0)
    grid(axes, "y")


def _mark(axes: Axes, size: int, rate: float) -> None:
    axes.plot(
        [size], [rate], "o", markersize=11, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.4
    )
    axes.annotate(
        f"take {size}: {rate:,.0f}/s" if rate >= 10 else f"take {size}: {rate:.2g}/s",
        (size, rate),
        textcoords="offset points",
        xytext=(0, 11),
        ha="center",
        fontsize=8.5,
        fontweight="bold",
    )


def _batch_axis(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(sizes[:: 1 + len(sizes) // _MOST_TICKS]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.set_xlabel("samples in a batch")


def _plain(value: float, _: int | None) -> str:
    return f"{value:,g}"


def _draw_parts(axes: Axes, trace: Trace) -> None:
    parts = trace.parts[::-1]  # the first on top
    axes.barh(
        [part.name for part in parts],
        [part.share for part in parts],
        color=[_part_colour(part.name) for part in parts],
        height=0.72,
    )
    for place, part in enumerate(parts):
        axes.annotate(
            f"{part.share:.1%}   {part.ms:,.1f} ms",
            (part.share, place),
            textcoords="offset points",
            xytext=(5, 0),
            va="center",
            fontsize=8.5,
        )
    at_once = f"{counted(trace.batch_size, 'sample')} on {counted(trace.threads, 'thread')}"
    axes.set_title(f"Where the time goes ({at_once})")
    axes.set_xlim(0, 1.4 * max(part.share for part in parts))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("share of the time of all nodes")
    axes.tick_params(axis="y", length=0)
    grid(axes, "x")


def _part_colour(part: str) -> str:
    """Parts of a kind share a colour."""
    return MISSING if part == OTHER else series_colour(_KINDS.get(part.partition(".")[0], 0))


def _subtitle(profile: Profile, letters: int) -> str:
    """What was measured on what, in lines of at most ``letters`` letters."""
    subject, machine = profile.subject, profile.machine
    where = machine.gpu if machine.device == "cuda" and machine.gpu else machine.cpu
    callers = f", {profile.inputs.concurrency} callers at once" if profile.inputs.concurrency > 1 else ""
    sentences = [
        f"{short(Path(subject.path).name, 40)} ({subject.family}, {subject.gating} gating, {subject.outputs} "
        f"outputs) on {machine.device.upper()}: {short(where or 'unknown', 48)}, "
        f"{counted(machine.threads, 'thread')}"
        f"{callers}.",
        f"Random samples, {'; '.join(short(told, 120) for told in profile.inputs.lengths)}.",
        *_costs(profile),
    ]
    return "\n".join(textwrap.wrap(" ".join(sentences), letters))


def _costs(profile: Profile) -> list[str]:
    """What the comparisons say, at the recommended batch."""
    told: list[str] = []
    if not isinstance(profile.tracking, Unavailable):
        cost = profile.tracking[-1]
        sure = "" if cost.ratio.certain else " (not told from none)"
        told.append(f"Tracking: {100 * (cost.ratio.median - 1):+.1f}% time{sure} at batch {cost.batch_size}.")
    if profile.eager is not None and not isinstance(profile.eager, Unavailable):
        slow = profile.eager[-1]
        told.append(f"Eager PyTorch takes {slow.ratio.median:.1f} times as long at batch {slow.batch_size}.")
    return told
