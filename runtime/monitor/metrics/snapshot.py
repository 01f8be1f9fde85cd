"""Everything that one scrape shows, taken at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..alarm import Alarm, AlarmKind, WindowReading
from ..model import WatchedModel
from .state import FleetState


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
