"""The numbers of a gate log, of the watcher, and of a monitor inside a service; each is checked."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import NoReturn

from ..errors import UsageError


@dataclass(frozen=True)
class WatchSettings:
    """How the watcher judges.

    - ``at_once``: from this excess on (1 is the threshold) a window alone is enough. Below it the window must
      stay beyond its threshold for ``confirm`` windows more, of which the last shares no video with it.
    - ``evaluations``: how often a window is looked at while it moves on by its own size.
    - ``stale_seconds``: after how long without any video traffic is stale.
    - ``examples``: ids in an alarm.

    Raises :class:`~gatescope.runtime.errors.UsageError` for numbers that make no sense.
    """

    at_once: float = 2.0
    confirm: int = 1
    evaluations: int = 5
    stale_seconds: float = 300.0
    examples: int = 5

    def __post_init__(self) -> None:
        _check_number("at_once", self.at_once, 0)
        _check_whole("confirm", self.confirm, 0)
        _check_whole("evaluations", self.evaluations, 1)
        _check_number("stale_seconds", self.stale_seconds, 0)
        _check_whole("examples", self.examples, 0)


@dataclass(frozen=True)
class LogSettings:
    """Numbers of a gate log.

    - ``segment_bytes``, ``segment_seconds``: when a segment is closed and the next begins.
    - ``sync_seconds``: how often what was written is forced to the disk; what a power loss may take.
    - ``keep_bytes``, ``keep_days``: what is kept of finished segments; the oldest go first.
    - ``seal``: whether finished segments are turned into Parquet, by a process of their own.

    Raises :class:`~gatescope.runtime.errors.UsageError` for numbers that make no sense.
    """

    segment_bytes: int = 64 * 2**20
    segment_seconds: float = 3600.0
    sync_seconds: float = 1.0
    keep_bytes: int = 20 * 2**30
    keep_days: float = 30.0
    seal: bool = True

    def __post_init__(self) -> None:
        _check_whole("segment_bytes", self.segment_bytes, 1)
        _check_number("segment_seconds", self.segment_seconds, 0)
        _check_number("sync_seconds", self.sync_seconds, 0)
        _check_whole("keep_bytes", self.keep_bytes, 0)
        _check_number("keep_days", self.keep_days, 0)
        _check_switch("seal", self.seal)


@dataclass(frozen=True)
class MonitorSettings:
    """Numbers of a monitor.

    - ``keep_gates``: share of videos whose gates are logged whole; of all others the counts are.
    - ``queue_requests``, ``queue_bytes``: what may wait to be counted; what comes beyond is dropped, counted.
    - ``most_slices``: different labels that are kept apart; further ones are all called ``other``.
    - ``poll_seconds``: how long a request waits to be counted, at most. ``state_seconds``: how often what was
      counted is written for other processes to read.

    Raises :class:`~gatescope.runtime.errors.UsageError` for numbers that make no sense.
    """

    keep_gates: float = 0.01
    queue_requests: int = 4096
    queue_bytes: int = 64 * 2**20
    most_slices: int = 20
    poll_seconds: float = 0.05
    state_seconds: float = 1.0
    log: LogSettings = field(default_factory=LogSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)

    def __post_init__(self) -> None:
        _check_number("keep_gates", self.keep_gates, 0, 1)
        _check_whole("queue_requests", self.queue_requests, 1)
        _check_whole("queue_bytes", self.queue_bytes, 1)
        _check_whole("most_slices", self.most_slices, 0)
        _check_number("poll_seconds", self.poll_seconds, 0.001)
        _check_number("state_seconds", self.state_seconds, 0)


def _check_number(name: str, value: object, least: float, most: float = math.inf) -> None:
    """See that the setting ``name`` is a finite number from ``least`` to ``most``.

    Raises :class:`~gatescope.runtime.errors.UsageError` for anything else.
    """
    if not isinstance(value, Real) or not least <= float(value) <= most or value == math.inf:
        _refuse("number", name, value, least, most)


def _check_whole(name: str, value: object, least: int) -> None:
    """See that the setting ``name`` is a whole number of at least ``least``.

    Raises :class:`~gatescope.runtime.errors.UsageError` for anything else.
    """
    if not isinstance(value, Integral) or value < least:
        _refuse("whole number", name, value, least)


def _check_switch(name: str, value: object) -> None:
    """See that the setting ``name`` is True or False.

    Raises :class:`~gatescope.runtime.errors.UsageError` for anything else.
    """
    if not isinstance(value, bool):
        raise UsageError(f"{name} makes no sense", received=repr(value), expected="True or False")


def _refuse(kind: str, name: str, value: object, least: float, most: float = math.inf) -> NoReturn:
    bound = f"from {least:g} to {most:g}" if most < math.inf else f"of at least {least:g}"
    raise UsageError(f"{name} makes no sense", received=f"{value!r}", expected=f"a {kind} {bound}")
