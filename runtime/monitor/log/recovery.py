"""Saves what can be read of a gate log after a crash or damage, and says what is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from ...errors import GateLogError, GatescopeError, UsageError
from ...files import local
from ...gates.manifest import Manifest
from ..counting.observed import ObservedVideo
from ..describe import moment
from .folder import SUFFIX, LogFolder, in_use, open_folder
from .reader import check_same_model
from .sealed import VIDEOS_FILE, read_facts, read_sealed, write_sealed
from .segment import SegmentReader, SegmentState, read_segment

COMPLETE, NOTHING, PARTIAL = 0, 1, 3


@dataclass(frozen=True)
class RecoveredSegment:
    """One segment.

    - ``videos``: read. ``ended``: ``closed``, ``running``, ``killed`` (its process ended without closing it)
      or ``sealed``. ``first``, ``last``: Unix seconds of its videos.
    - ``damaged_bytes``: in the middle of it. ``torn_bytes``: of a frame at its end that was being written and
      was never acknowledged. ``lost_videos``: an estimate from the damaged bytes, or known from its end
      frame.
    - ``reported_lost``: what its writer says it could not write. ``problem``: why it, or a part of it, could
      not be read. ``next``: the number of the segment that follows by its end, or −1.
    """

    name: str
    videos: int
    ended: str
    first: float
    last: float
    damaged_bytes: int = 0
    torn_bytes: int = 0
    lost_videos: int = 0
    reported_lost: int = 0
    problem: str = ""
    next: int = -1

    @property
    def complete(self) -> bool:
        """Whether every video that was acknowledged is there."""
        return not self.problem and not self.damaged_bytes and not self.lost_videos


@dataclass(frozen=True)
class Recovery:
    """What was found in a log. ``missing``: segments that must have been there, by their numbers.

    ``written``: files that were made of it. ``videos``: all that were read, each once.
    """

    folder: str
    videos: int
    segments: tuple[RecoveredSegment, ...]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    written: tuple[str, ...] = field(default=())

    @property
    def complete(self) -> bool:
        """Whether nothing that was acknowledged is lost."""
        return not self.missing and all(segment.complete for segment in self.segments)

    @property
    def exit_code(self) -> int:
        """0 complete, 3 partial, 1 nothing could be read."""
        if self.complete and self.segments:
            return COMPLETE
        return PARTIAL if self.videos else NOTHING

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects."""
        return {"complete": self.complete, **msgspec.to_builtins(self)}

    def text(self) -> str:
        """A report for people."""
        what = {COMPLETE: "complete", PARTIAL: "partial", NOTHING: "nothing could be read"}[self.exit_code]
        lines = [f"{self.folder}: {what}; {self.videos} videos in {len(self.segments)} segments"]
        for segment in self.segments:
            span = f", {moment(segment.first)} to {moment(segment.last)}" if segment.videos else ""
            lines.append(f"  {segment.name}: {segment.videos} videos, {segment.ended}{span}")
            lines += [f"    {remark}" for remark in _remarks(segment)]
        lines += [f"  missing: {name} is not there, and one with a later number is" for name in self.missing]
        lines += [f"  note: {note}" for note in self.notes]
        lines += [f"wrote {path}" for path in self.written]
        return "\n".join(lines)


def recover(folder: str | Path, output: str | Path | None = None) -> Recovery:
    """Read all of ``folder`` that can be read; with ``output`` write it there. ``folder`` is never changed.

    ``output``, new or empty, gets ``videos.parquet`` as in a sealed segment, and a run folder of the gates
    that were kept whole, where there are any.

    Raises :class:`~gatescope.runtime.errors.GateLogError` for a folder that is not a log and an ``output``
    that cannot be written, :class:`~gatescope.runtime.errors.UsageError` for one that is not empty.
    """
    folder = local(folder)
    target = local(output) if output is not None else None
    if target is not None and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(
            f"{target} is not empty", expected="a folder that is new or empty", fix="choose another --output"
        )
    notes: list[str] = []
    log = _log_of(folder, notes)
    found: list[RecoveredSegment] = []
    if target is None:
        for _ in _everything(log, found):
            pass
        written: tuple[str, ...] = ()
    else:
        written = _write(log, target, found)
    return Recovery(
        str(folder),
        sum(segment.videos for segment in found),
        tuple(found),
        _missing([segment.name for segment in found]),
        (*notes, *_unfollowed(found)),
        written,
    )


def _log_of(folder: Path, notes: list[str]) -> LogFolder:
    """The log; where its ``log.json`` is lost or damaged, as its segments' headers know it."""
    try:
        return open_folder(folder)
    except GateLogError as error:
        if "newer" in error.problem:
            raise
        for path in sorted((folder / "segments").glob(f"*{SUFFIX}")):
            header = None
            try:
                reader = SegmentReader(path)
                reader.close()
                header = reader.state.header
                if header is not None:
                    manifest = Manifest.from_json(header.manifest, origin=path.name)
                    notes.append(f"{error.problem}; taken from the header of {path.name}")
                    return LogFolder(folder, header.model, manifest)
            except (GatescopeError, OSError):
                continue
        raise


def _everything(log: LogFolder, found: list[RecoveredSegment]) -> Iterator[ObservedVideo]:
    """Every video, segment by segment; ``found`` is filled on the way."""
    for path in log.sealed_paths():
        yield from _sealed(log, path, found)
    for path in log.segment_paths():
        state, problem = SegmentState(), ""
        try:
            for one in _segment(log, path, state):
                yield one.video
        except (GatescopeError, OSError) as error:
            problem = error.problem if isinstance(error, GatescopeError) else str(error)
        found.append(_judged(path, state, problem))


def _sealed(log: LogFolder, path: Path, found: list[RecoveredSegment]) -> Iterator[ObservedVideo]:
    """The videos of a sealed segment; where its whole gates cannot be read, their counts still can."""
    videos, first, last, problems = 0, 0, 0, list[str]()
    expected, reported, following = 0, 0, -1
    try:
        facts = read_facts(path)
        expected, following = facts.videos, facts.next
        reported = sum(loss.videos for loss in facts.losses)
    except GateLogError as error:
        problems.append(f"{error.problem}: {error.received}")
    for gates in (True, False):
        try:
            for one in islice(read_sealed(path, log.model.layout, gates=gates), videos, None):
                first = first if videos else one.video.time
                last = one.video.time
                videos += 1
                yield one.video
            break
        except GateLogError as error:
            problems.append(f"{error.problem}: {error.received}")
    found.append(
        RecoveredSegment(
            path.name,
            videos,
            "sealed",
            first / 1e9,
            last / 1e9,
            lost_videos=max(expected - videos, 0),
            reported_lost=reported,
            problem="; ".join(dict.fromkeys(problems)),
            next=following,
        )
    )


def _segment(log: LogFolder, path: Path, state: SegmentState) -> Iterator[Any]:
    reader = SegmentReader(path)
    reader.close()
    check_same_model(log, reader.state, path.name)
    return read_segment(path, len(log.model.layout), state)


def _judged(path: Path, state: SegmentState, problem: str) -> RecoveredSegment:
    damaged = sum(skipped.end - skipped.start for skipped in state.skipped)
    each = (state.size - damaged) / max(state.videos, 1)
    lost = round(damaged / each) if damaged and state.videos else 0
    if state.end is not None:
        lost = max(state.end.videos - state.videos, 0)
    elif damaged:
        lost = max(lost, 1)
    if state.header is None and not damaged and not problem:
        problem = "it ends within its header"
    running = in_use(path)
    return RecoveredSegment(
        path.stem,
        state.videos,
        "closed" if state.end is not None else "running" if running else "killed",
        state.first / 1e9,
        state.last / 1e9,
        damaged_bytes=damaged,
        torn_bytes=state.size - state.torn if state.torn is not None else 0,
        lost_videos=lost,
        reported_lost=sum(loss.videos for loss in state.losses),
        problem=problem,
        next=state.end.next if state.end is not None else -1,
    )


def _missing(names: list[str]) -> tuple[str, ...]:
    """Numbers that lack between a process's first and last segment; what came before was removed by age."""
    by_process: dict[str, list[int]] = {}
    for name in names:
        process, _, number = name.rpartition("-")
        if number.isdigit():
            by_process.setdefault(process, []).append(int(number))
    return tuple(
        f"{process}-{number:06}"
        for process, numbers in by_process.items()
        for number in range(min(numbers), max(numbers))
        if number not in numbers
    )


def _unfollowed(segments: list[RecoveredSegment]) -> list[str]:
    """Segments whose end says that another follows, which is not there."""
    names = {segment.name for segment in segments}
    following = {
        segment.name: f"{segment.name.rpartition('-')[0]}-{segment.next:06}"
        for segment in segments
        if segment.next >= 0
    }
    return [
        f"{name} was to be followed by {later}, which was removed or could never be begun"
        for name, later in following.items()
        if later not in names
    ]


def _write(log: LogFolder, target: Path, found: list[RecoveredSegment]) -> tuple[str, ...]:
    hidden = target.parent / f".{target.name}.partial"
    try:
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir(parents=True)
        write_sealed(hidden, log, _everything(log, found))
        if target.exists():
            target.rmdir()
        hidden.rename(target)
    except (OSError, pl.exceptions.PolarsError) as error:
        shutil.rmtree(hidden, ignore_errors=True)
        raise GateLogError(
            f"{target} cannot be written", received=str(error), fix="choose another --output"
        ) from error
    made = [target / VIDEOS_FILE]
    made += [target] if (target / "run.json").exists() else []
    return tuple(str(path) for path in made)


def _remarks(segment: RecoveredSegment) -> list[str]:
    remarks: list[str] = []
    if segment.problem:
        remarks.append(f"LOST: {segment.problem}")
    if segment.damaged_bytes:
        remarks.append(f"LOST: {segment.damaged_bytes} bytes are damaged, about {segment.lost_videos} videos")
    elif segment.lost_videos:
        remarks.append(f"LOST: {segment.lost_videos} videos that its end says it held")
    if segment.torn_bytes:
        remarks.append(
            f"its last {segment.torn_bytes} bytes are a frame that was being written and never acknowledged"
        )
    if segment.reported_lost:
        remarks.append(f"its writer could not write {segment.reported_lost} videos")
    return remarks
