"""What an operator is told: one alarm per fault, with what was seen, what it may be, and where to look."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, cast

import msgspec

from ..brief import brief

#: What can go wrong; each has an entry in :data:`~gatescope.runtime.monitor.detectors.DETECTORS`.
AlarmKind = Literal[
    "drift", "level", "saturation", "collapse", "constant", "frozen", "nan", "stale", "missing", "loss"
]


@dataclass(frozen=True)
class WindowReading:
    """What one detector reads off one window, next to its threshold.

    - ``kind``: the detector. ``gate`` and ``layer``: the row, empty and None for the whole window.
    - ``window``: its size in videos. ``value``, ``baseline``, ``threshold``: in the detector's own unit,
      see :class:`~gatescope.runtime.monitor.detectors.Detector`.
    - ``effect``: how far beyond chance, in standard deviations where the detector has one, else 0.
    - ``excess``: ``value``'s distance from the baseline over the threshold's; it fires from 1 on.
    """

    kind: AlarmKind
    gate: str
    layer: int | None
    window: int
    value: float
    baseline: float
    threshold: float
    effect: float
    excess: float


@dataclass(frozen=True)
class Diagnosis:
    """What the readings look like: ``label`` (``silent audio``, …, ``unknown``), and why, in sentences.

    ``scores``: how well each known fault fits, larger is better; empty where none could be tried.
    """

    label: str
    evidence: tuple[str, ...] = ()
    scores: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Example:
    """A video to look at: its id, when it came (Unix seconds), and the log segment that holds it."""

    sample_id: str
    time: float
    segment: str = ""


@dataclass(frozen=True)
class Alarm:
    """A fault that began, changed or ended.

    - ``number``: counts the alarms of one watcher; an alarm keeps its number until it is resolved.
    - ``kinds``: the detectors that fire, the strongest first. ``slice``: empty for all traffic.
    - ``first``, ``last``: Unix seconds of the oldest and newest video in the window. ``window``: in videos.
    - ``videos``: how many videos the watcher had seen.
    """

    number: int
    state: Literal["firing", "resolved"]
    model: str
    slice: str
    kinds: tuple[AlarmKind, ...]
    window: int
    first: float
    last: float
    videos: int
    diagnosis: Diagnosis
    readings: tuple[WindowReading, ...]
    examples: tuple[Example, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects."""
        return cast(dict[str, Any], msgspec.to_builtins(self))

    def to_json(self) -> str:
        """One line."""
        return msgspec.json.encode(self).decode()

    def __repr__(self) -> str:
        return brief(self)
