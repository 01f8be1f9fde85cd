"""Turns finished segments into Parquet, and removes the oldest: outside the service, and never half.

A segment is sealed by writing into a hidden folder, forcing that to the disk, reading it back and comparing
it with the segment, and renaming it; only then is the segment removed. A damaged segment is left as it is,
for ``gatescope monitor recover``.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import polars as pl
from filelock import FileLock, Timeout

from ...errors import GateLogError, GatescopeError
from ..counting.observed import ObservedVideo
from .clock import Clocks, read_clock
from .folder import SUFFIX, LogFolder, in_use, sync_folder
from .reader import check_same_model
from .sealed import SealedFacts, read_sealed, write_facts, write_sealed
from .segment import SegmentState, read_segment

_LOCK = ".maintenance.lock"


@dataclass(frozen=True)
class Maintained:
    """``sealed``, ``removed``: names. ``left``: names of segments that cannot be sealed, and why. ``doubt``:
    what there is to say of the machine's clock, empty where it is believed."""

    sealed: tuple[str, ...]
    removed: tuple[str, ...]
    left: dict[str, str]
    doubt: str = ""


def maintain(
    log: LogFolder, keep_bytes: int, keep_days: float, clocks: Clocks | None = None
) -> Maintained | None:
    """Seal all that can be and remove what is too much or too old; None where another process is at it.

    ``clocks``: the machine's, unless a test has others.
    """
    try:
        with FileLock(log.path / _LOCK, timeout=0):
            sealed, left = seal_finished(log)
            aged = _aged(log)
            clocks = clocks or Clocks.now()
            time = read_clock(log, clocks, aged[0][0] if aged else clocks.wall)
            # A clock that is behind says when segments were written: their ages are by it.
            removed = apply_retention(log, keep_bytes, keep_days, min(time.now, clocks.wall))
            return Maintained(tuple(sealed), tuple(removed), left, time.doubt)
    except Timeout:
        return None


def seal_finished(log: LogFolder) -> tuple[list[str], dict[str, str]]:
    """Seal every segment that no process writes any more; the names sealed, and why others were not."""
    done: list[str] = []
    left: dict[str, str] = {}
    for hidden in log.sealed.glob(".sealing-*"):
        shutil.rmtree(hidden, ignore_errors=True)
    for path in sorted(log.segments.glob(f"*{SUFFIX}")):
        if in_use(path):
            continue
        try:
            seal(log, path)
        except (GatescopeError, OSError, pl.exceptions.PolarsError) as error:
            left[path.stem] = str(error).splitlines()[0]
        else:
            done.append(path.stem)
    return done, left


def seal(log: LogFolder, path: Path) -> Path:
    """Seal the segment at ``path``; returns the sealed folder.

    Raises :class:`~gatescope.runtime.errors.GateLogError` for a segment that is being written, is damaged or
    of another model, and where what was written cannot be read back; then the segment stays.
    """
    if in_use(path):
        raise GateLogError(f"the segment {path.name} is being written")
    target = log.sealed / path.stem
    if target.exists():
        # Sealed already; the last step, its removal, is what was missing.
        path.unlink()
        return target
    rows, state = len(log.model.layout), SegmentState()
    for _ in read_segment(path, rows, state):
        pass
    check_same_model(log, state, path.name)
    if not state.whole:
        raise GateLogError(
            f"the segment {path.name} is damaged and is left as it is",
            fix=f"save what can be read: gatescope monitor recover {log.path} --output FOLDER",
        )
    hidden = log.sealed / f".sealing-{path.stem}"
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir(parents=True)
    try:
        write_sealed(hidden, log, (one.video for one in read_segment(path, rows)))
        write_facts(hidden, _facts(state))
        _sync_tree(hidden)
        _compare(hidden, log, path)
        hidden.rename(target)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    sync_folder(log.sealed)
    path.unlink()
    return target


def apply_retention(log: LogFolder, keep_bytes: int, keep_days: float, now: float) -> list[str]:
    """Remove what is older than ``keep_days``, then the oldest until ``keep_bytes`` are left; the names.

    Sealed folders and segments that no process writes; an open one is never removed. ``now``: Unix seconds.
    """
    aged = _aged(log)
    total = sum(size for _, size, _ in aged)
    oldest = now - keep_days * 86_400
    removed: list[str] = []
    for changed, size, path in aged:
        if changed >= oldest and total <= keep_bytes:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        removed.append(path.stem)
        total -= size
    return removed


def _aged(log: LogFolder) -> list[tuple[float, int, Path]]:
    """When it was changed, its bytes and its path, of all that may be removed; the oldest first."""
    finished = [*log.sealed_paths(), *(path for path in log.segment_paths() if not in_use(path))]
    return sorted((path.stat().st_mtime, _size(path), path) for path in finished)


def _facts(state: SegmentState) -> SealedFacts:
    following = state.end.next if state.end is not None else -1
    return SealedFacts(state.videos, following, state.losses)


def _compare(folder: Path, log: LogFolder, segment: Path) -> None:
    """Read back what was written and hold it against the segment, video by video."""
    back = read_sealed(folder, log.model.layout, gates=True)
    original = read_segment(segment, len(log.model.layout))
    if not all(
        one is not None and other is not None and _same(one.video, other.video)
        for one, other in zip_longest(original, back)
    ):
        raise GateLogError(f"{folder} does not hold what its segment holds; the segment stays")


def _same(video: ObservedVideo, back: ObservedVideo) -> bool:
    """Gates with a value that is no finite number are not kept whole in Parquet."""
    gates, gates_back = video.gates or {}, back.gates or {}
    return (
        (video.time, video.sample_id, video.slice, video.clips)
        == (back.time, back.sample_id, back.slice, back.clips)
        and np.array_equal(video.integers, back.integers)
        and video.sums.tobytes() == back.sums.tobytes()
        and (
            all(array.tobytes() == gates_back[kind].tobytes() for kind, array in gates.items())
            if gates_back
            else not gates or not all(np.isfinite(array).all() for array in gates.values())
        )
    )


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        else:
            sync_folder(path)
    sync_folder(folder)


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
