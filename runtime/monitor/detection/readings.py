"""What every detector reads off one window of videos, held against its thresholds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...array_types import Float64s
from ..alarm import AlarmKind, WindowReading
from ..baseline.baseline import Baseline
from ..baseline.thresholds import Thresholds, standing
from ..baseline.videos import expected_twins
from ..counting.layout import GateLayout
from ..detectors import DISTANCE_PLACES, DISTANCES, FLAG_PLACES, FLAGS, REPEATED, distances
from .window import window_sums


@dataclass(frozen=True, eq=False)
class Reference:
    """The baseline's side of one stream: ``sums`` (R, 66) over its videos, and ``shares`` (F, R) of flags."""

    layout: GateLayout
    videos: int
    sums: Float64s
    shares: Float64s
    frozen: float


def reference_of(baseline: Baseline, slice_: str = "") -> Reference:
    """What windows of ``slice_`` (empty: all traffic) are held against."""
    counts = baseline.counts_of(slice_)
    sums, flags = window_sums(counts)
    return Reference(
        baseline.layout, len(counts), sums, flags / len(counts), expected_twins(counts) / len(counts)
    )


@dataclass(frozen=True, eq=False)
class WindowReadings:
    """Everything read off one window.

    - ``excess``: by kind, (R,), or (1,) for what is read of the window as a whole: the distance from the
      baseline over the threshold's.
    """

    reference: Reference
    thresholds: Thresholds
    found: Float64s
    sums: Float64s
    flagged: NDArray[np.int64]
    frozen: int
    excess: dict[AlarmKind, Float64s]

    @property
    def certain(self) -> WindowReadings | None:
        """What alone shows that something is wrong, however few videos there are; None where nothing does."""
        never = {
            kind: own for kind, own in self.excess.items() if kind in FLAGS and FLAGS[kind].never_by_chance
        }
        only = replace(self, excess=never)
        return only if only.largest >= 1 else None

    @property
    def largest(self) -> float:
        """The largest excess of all."""
        return max((float(one.max()) for one in self.excess.values()), default=0.0)

    def kinds(self) -> tuple[AlarmKind, ...]:
        """The detectors that fire, the strongest first."""
        return tuple(dict.fromkeys(reading.kind for reading in self.firing()))

    def listed(self) -> list[WindowReading]:
        """All readings: by kind, then by row."""
        return [self._reading(kind, row) for kind, own in self.excess.items() for row in range(len(own))]

    def firing(self) -> list[WindowReading]:
        """The readings beyond their threshold, the farthest first."""
        return sorted((one for one in self.listed() if one.excess >= 1), key=lambda one: -one.excess)

    def _reading(self, kind: AlarmKind, row: int) -> WindowReading:
        held, of = self.thresholds, self.reference
        window = held.window
        if kind in REPEATED:
            return WindowReading(
                kind,
                gate="",
                layer=None,
                window=window,
                value=self.frozen / window,
                baseline=of.frozen,
                threshold=int(held.flags[kind][0]) / window,
                effect=0.0,
                excess=float(self.excess[kind][0]),
            )
        gate, layer = of.layout.rows[row].kind, of.layout.rows[row].layer
        excess = float(self.excess[kind][row])
        if kind in FLAGS:
            at = FLAG_PLACES[kind]
            value = int(self.flagged[at, row]) / window
            return WindowReading(
                kind,
                gate,
                layer,
                window,
                value=value,
                baseline=float(of.shares[at, row]),
                threshold=int(held.flags[kind][row]) / window,
                effect=0.0,
                excess=excess,
            )
        distance, at = DISTANCES[kind], DISTANCE_PLACES[kind]
        centre, spread = float(held.centre[at, row]), float(held.spread[at, row])
        value, effect = float(self.found[at, row]), (float(self.found[at, row]) - centre) / spread
        # The threshold is that of the side on which the value is.
        side = -1.0 if distance.two_sided and effect < 0 else 1.0
        if distance.level is None:
            threshold = centre + side * held.factor * spread
            return WindowReading(kind, gate, layer, window, value, centre, threshold, effect, excess)
        width = float(of.layout.high[row] - of.layout.low[row])
        base = float(distance.level(of.sums)[row])
        threshold = base + width * (centre + side * held.factor * spread)
        return WindowReading(kind, gate, layer, window, base + width * value, base, threshold, effect, excess)


def read_window(
    reference: Reference, held: Thresholds, sums: Float64s, flagged: NDArray[np.int64], frozen: int
) -> WindowReadings:
    """Hold a window of ``held.window`` videos against its thresholds.

    ``sums`` (R, 66), ``flagged`` (F, R) and ``frozen``: as :meth:`VideoWindow.sums` gives them.
    """
    found = distances(reference.layout, sums, reference.sums)
    scaled = standing(held.centre, held.spread, found) / held.factor
    excess: dict[AlarmKind, Float64s] = {kind: scaled[at] for kind, at in DISTANCE_PLACES.items()}
    excess |= {kind: flagged[at] / held.flags[kind] for kind, at in FLAG_PLACES.items()}
    excess |= {kind: np.array([frozen / int(held.flags[kind][0])]) for kind in REPEATED}
    return WindowReadings(reference, held, found, sums, flagged, frozen, excess)
