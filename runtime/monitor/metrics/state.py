"""What one process has counted, kept in a file of its own, and what all of them together have.

Each process writes its file about once a second, whole or not at all, and holds a lock while it lives. Files
of processes that ended are folded into one, each exactly once, so that counters never go down and the folder
does not grow.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
from filelock import FileLock, Timeout
from zlib_ng.zlib_ng import crc32

from ..alarm import Alarm, AlarmKind, WindowReading
from ..counting.layout import GateLayout
from ..counting.observed import OTHER_SLICES
from ..counting.totals import GateTotals
from ..log.folder import in_use
from ..model import WatchedModel
from .definitions import SERVICE_COUNTERS

_SUFFIX, _ENDED = ".state", "ended.state"
_LOCK = ".fold.lock"
# Files of ended processes that may lie about before they are folded.
_MOST_ENDED = 8
# Labels of all processes together; every restart may bring others, and a series of each stays for ever.
_MOST_SLICES = 100
# How often a reader without the lock begins anew where files were folded under its hands.
_TRIES = 5
# What reading a damaged file may raise.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, OverflowError, msgspec.DecodeError)


@dataclass
class WorkerState:
    """What has been counted since a process began; nothing in it ever goes down.

    - ``totals``: of its gates. ``slices``: videos by slice. ``counters``: by the names of
      :data:`~gatescope.runtime.monitor.metrics.definitions.SERVICE_COUNTERS`.
    - ``last_inference``: Unix seconds, 0 before the first. ``last_fault``: the latest message.
    """

    totals: GateTotals
    slices: Counter[str] = field(default_factory=Counter[str])
    counters: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SERVICE_COUNTERS, 0))
    last_inference: float = 0.0
    last_fault: str = ""

    def merge(self, other: WorkerState) -> None:
        """Add what ``other`` has counted; the latest inference is the latest of both.

        Beyond a hundred slices all further ones are one.
        """
        self.totals.merge(other.totals)
        for name, videos in other.slices.items():
            known = name in self.slices or len(self.slices) < _MOST_SLICES
            self.slices[name if known else OTHER_SLICES] += videos
        for name in SERVICE_COUNTERS:
            self.counters[name] += other.counters[name]
        if other.last_inference >= self.last_inference:
            self.last_inference = other.last_inference
            self.last_fault = other.last_fault or self.last_fault

    def to_plain(self) -> dict[str, Any]:
        """Lists and numbers."""
        return {
            "totals": self.totals.to_plain(),
            "slices": dict(self.slices),
            "counters": self.counters,
            "last_inference": self.last_inference,
            "last_fault": self.last_fault,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], layout: GateLayout) -> WorkerState:
        """What :meth:`to_plain` gave; raises ``ValueError``, ``KeyError`` or ``TypeError`` for others."""
        slices, counters = plain["slices"], plain["counters"]
        if not isinstance(slices, dict) or not isinstance(counters, dict):
            raise TypeError("slices and counters are no maps")
        return cls(
            GateTotals.from_plain(plain["totals"], layout),
            Counter({str(name): int(count) for name, count in cast(dict[str, int], slices).items()}),
            {name: float(cast(dict[str, float], counters).get(name, 0)) for name in SERVICE_COUNTERS},
            float(plain["last_inference"]),
            str(plain["last_fault"]),
        )


@dataclass(frozen=True, eq=False)
class FleetState:
    """All processes that share a folder: ``state`` of all, ``live`` ones, and files that are ``damaged``."""

    state: WorkerState
    live: int
    damaged: int = 0


@dataclass(frozen=True, eq=False)
class Detection:
    """What a watcher sees now.

    - ``readings``: by slice (empty: all traffic). ``filled``: by slice, videos in its windows.
    - ``firing``: alarms that are not resolved. ``raised``: how many began, by kind.
    - ``slices``: those that are watched by themselves. ``watched``: videos that were seen.
    """

    readings: Mapping[str, Sequence[WindowReading]]
    filled: Mapping[str, int]
    firing: Sequence[Alarm]
    raised: Mapping[AlarmKind, int]
    slices: Sequence[str]
    watched: int
    baseline_videos: int
    false_alarms: float


@dataclass(frozen=True, eq=False)
class MetricsSnapshot:
    """One moment: the ``model``, what all processes have counted, what the watcher sees (None: no baseline).

    ``deliveries_failed`` and ``faults``: of the process that watches, beside those of the services.
    ``versions``: of what runs, by name.
    """

    model: WatchedModel
    fleet: FleetState
    detection: Detection | None = None
    deliveries_failed: int = 0
    faults: int = 0
    versions: Mapping[str, str] = field(default_factory=dict[str, str])


class StateFile:
    """The state of the process ``process`` in ``folder``, which must be there; held locked until closed.

    Raises ``OSError`` where it cannot be written.
    """

    def __init__(self, folder: Path, process: str) -> None:
        self._folder = folder
        self._path = folder / f"{process}{_SUFFIX}"
        self._partial = folder / f".{process}.partial"
        self._lock_path = folder / f"{process}.lock"
        self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def write(self, state: WorkerState) -> None:
        """Replace what is there. Not forced to the disk: after a power loss a service begins anew anyway."""
        _write(self._partial, self._path, state.to_plain())

    def close(self) -> None:
        """Let go of the lock: from now on the process counts as ended."""
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


def merged_state(folder: Path, layout: GateLayout) -> FleetState:
    """The sum over every process that ever wrote into ``folder``.

    Files that are damaged are left out and counted; nothing of a file's content is an error.
    """
    try:
        with FileLock(folder / _LOCK, timeout=5):
            return _merge(folder, layout, may_write=True)
    except (OSError, Timeout):
        # A reader that may not write, or a folder that is being folded: as it is, at one moment.
        for _ in range(_TRIES):
            before = _fold_of(folder)
            fleet = _merge(folder, layout, may_write=False)
            if _fold_of(folder) == before:
                return fleet
        return _merge(folder, layout, may_write=False)


def _merge(folder: Path, layout: GateLayout, *, may_write: bool) -> FleetState:
    whole, live, damaged = WorkerState(GateTotals(layout)), 0, 0
    ended: list[tuple[Path, WorkerState]] = []
    kept, folded, problem = _ended(folder, layout)
    damaged += problem
    whole.merge(kept)
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        if path.name == _ENDED or path.stem in folded:
            continue
        # Asked before reading: what a process writes at its very end must not be folded away unread.
        lives = in_use(path.with_suffix(".lock"))
        try:
            state = _read(path, layout)
        except FileNotFoundError:  # folded meanwhile, or removed
            continue
        if state is None:
            damaged += 1
            continue
        whole.merge(state)
        if lives:
            live += 1
        else:
            ended.append((path, state))
    if may_write and not problem and (len(ended) > _MOST_ENDED or folded):
        _fold(folder, kept, ended if len(ended) > _MOST_ENDED else [], folded)
    return FleetState(whole, live, damaged)


def _fold(folder: Path, kept: WorkerState, ended: list[tuple[Path, WorkerState]], folded: set[str]) -> None:
    """Add the ended to what was kept. Their names are kept with it until their files are gone, so that a
    crash in between counts none twice."""
    for name in folded:
        _remove(folder, name)
    if not ended:
        left = [name for name in folded if (folder / f"{name}{_SUFFIX}").exists()]
    else:
        for _, state in ended:
            kept.merge(state)
        left = [path.stem for path, _ in ended]
    _write(folder / ".ended.partial", folder / _ENDED, {**kept.to_plain(), "folded": left})
    for name in left:
        _remove(folder, name)


def _remove(folder: Path, name: str) -> None:
    for own in (f".{name}.partial", f"{name}{_SUFFIX}", f"{name}.lock"):
        (folder / own).unlink(missing_ok=True)


def _fold_of(folder: Path) -> tuple[int, int] | None:
    """What changes whenever files are folded."""
    try:
        found = (folder / _ENDED).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _ended(folder: Path, layout: GateLayout) -> tuple[WorkerState, set[str], int]:
    """What ended processes have counted, whose files may still be there, and 1 where it is damaged."""
    nothing = WorkerState(GateTotals(layout))
    try:
        plain = _plain(folder / _ENDED)
        kept, folded = WorkerState.from_plain(plain, layout), plain["folded"]
        return kept, {str(name) for name in cast(list[str], folded)}, 0
    except FileNotFoundError:
        return nothing, set(), 0
    except _DAMAGE:
        return nothing, set(), 1


def _read(path: Path, layout: GateLayout) -> WorkerState | None:
    """None where it is damaged; raises ``FileNotFoundError`` where it is gone."""
    try:
        return WorkerState.from_plain(_plain(path), layout)
    except FileNotFoundError:
        raise
    except _DAMAGE:
        return None


def _plain(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    if len(data) < 4 or crc32(data[4:]) != int.from_bytes(data[:4], "little"):
        raise ValueError("the checksum does not fit")
    plain: Any = msgspec.msgpack.decode(data[4:])
    if not isinstance(plain, dict):
        raise TypeError("no map")
    return cast(dict[str, Any], plain)


def _write(partial: Path, path: Path, plain: Mapping[str, Any]) -> None:
    data = msgspec.msgpack.encode(plain)
    partial.write_bytes(crc32(data).to_bytes(4, "little") + data)
    partial.replace(path)
