"""What time it is for a gate log, whose oldest segments are removed by their age: a clock that jumped ahead
must not remove what is young.

``clock.json`` in the log's folder keeps the latest time that was believed, and with it the time since the
machine's start, which nobody can set. A clock that is more than a day ahead of what has passed since then is
doubted: ages go on by the time since the start alone. After a week the clock is believed, because it may be
right: a machine may have been switched off for a month, and nothing says so.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from ...files import new_file
from .folder import LogFolder

CLOCK_FILE = "clock.json"
_DAY = 86_400.0
# Clocks are put right by seconds or hours; and a machine may be off for a night.
_SUDDEN = _DAY
# What is kept for longer than it should be is bounded by bytes all the same.
_DOUBT = 7 * _DAY


@dataclass(frozen=True)
class Clocks:
    """What the machine's clocks say: ``wall``, Unix seconds; ``running``, seconds since start ``boot``."""

    wall: float
    running: float
    boot: str

    @classmethod
    def now(cls) -> Clocks:
        """This moment."""
        boot = ""
        with contextlib.suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return cls(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), boot)


@dataclass(frozen=True)
class LogTime:
    """``now``: Unix seconds, for ages unless the clock says less. ``ahead``: by how many seconds the clock is
    ahead of it, 0 where it is believed; ``doubted``: for how many seconds of running it has been so."""

    now: float
    running: float
    boot: str
    ahead: float = 0.0
    doubted: float = 0.0

    @property
    def doubt(self) -> str:
        """What there is to say of the clock; empty where it is believed."""
        if not self.ahead:
            return ""
        left = max(_DOUBT - self.doubted, 0.0) / _DAY
        return (
            f"the clock is {self.ahead / _DAY:.1f} days ahead of the log: nothing is removed for an age that"
            f" it alone says; set it right, or it is believed after {left:.1f} days more"
        )


def begin_clock(log: LogFolder) -> None:
    """Keep this moment for a log that begins; one that has segments keeps what it has."""
    if not ((log.path / CLOCK_FILE).exists() or any(log.segments.iterdir()) or any(log.sealed.iterdir())):
        clocks = Clocks.now()
        _keep(log.path, LogTime(clocks.wall, clocks.running, clocks.boot))


def read_clock(log: LogFolder, clocks: Clocks, oldest: float) -> LogTime:
    """What time it is for ``log``, whose oldest segment is of ``oldest``, in Unix seconds; it is kept."""
    found = judged(_kept(log.path) or LogTime(oldest, 0.0, ""), clocks)
    _keep(log.path, found)
    return found


def doubt_of(log: LogFolder) -> str:
    """What the latest maintenance had to say of the clock."""
    kept = _kept(log.path)
    return kept.doubt if kept else ""


def judged(before: LogTime, clocks: Clocks) -> LogTime:
    """The time that follows from what was believed ``before`` and what ``clocks`` say."""
    passed = max(clocks.running - before.running, 0.0) if clocks.boot and clocks.boot == before.boot else 0.0
    expected = before.now + passed
    ahead = clocks.wall - expected
    if ahead <= _SUDDEN:
        # Behind is harmless: ages are then by the clock itself, and smaller. What was believed stays here,
        # for a clock that begins at 1970.
        return LogTime(max(expected, clocks.wall), clocks.running, clocks.boot)
    same = before.ahead and abs(ahead - before.ahead) <= _SUDDEN
    doubted = before.doubted + passed if same else 0.0
    if doubted >= _DOUBT:
        return LogTime(clocks.wall, clocks.running, clocks.boot)
    return LogTime(expected, clocks.running, clocks.boot, ahead, doubted)


def _kept(log: Path) -> LogTime | None:
    try:
        return msgspec.json.decode((log / CLOCK_FILE).read_bytes(), type=LogTime)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _keep(log: Path, found: LogTime) -> None:
    with contextlib.suppress(OSError), new_file(log / CLOCK_FILE) as partial:
        partial.write_bytes(msgspec.json.encode(asdict(found)) + b"\n")
