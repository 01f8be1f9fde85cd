"""Totals of all that one process has counted: integers that merge exactly, moments that merge to rounding.

Any split of a stream, merged in any order, gives the same integers; mean and squares are merged by Chan,
Golub and LeVeque (1983).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...array_types import Float64s
from ...errors import GatescopeError
from .layout import PLACES, GateLayout
from .videos import INTEGERS, VIDEO_COUNTERS, Ints, VideoCounts

_INTS = ("integers", "count")
_FLOATS = ("mean", "squares", "positive", "negative")


class GateTotals:
    """Counts and moments of a stream of videos, each an array over the R rows of ``layout``.

    - ``videos``: how many. ``integers`` (R, 76) int64: as in :class:`VideoCounts`.
    - ``count``, ``mean``, ``squares`` (R,): finite values, their mean, the sum of squared distances from it
      (M2). ``positive``, ``negative`` (R,): sums of positive and of negative values.
    """

    def __init__(self, layout: GateLayout) -> None:
        rows = len(layout)
        self.layout = layout
        self.videos = 0
        self.integers: Ints = np.zeros((rows, INTEGERS), np.int64)
        self.count: Ints = np.zeros(rows, np.int64)
        self.mean: Float64s = np.zeros(rows)
        self.squares: Float64s = np.zeros(rows)
        self.positive: Float64s = np.zeros(rows)
        self.negative: Float64s = np.zeros(rows)

    @property
    def places(self) -> Ints:
        """(R, 66)."""
        return self.integers[:, :PLACES]

    def counter(self, name: str) -> Ints:
        """One of :data:`~gatescope.runtime.monitor.counting.videos.VIDEO_COUNTERS`, (R,)."""
        return self.integers[:, PLACES + VIDEO_COUNTERS.index(name)]

    def update(self, videos: VideoCounts) -> None:
        """Add videos."""
        if len(videos) == 0:
            return
        self.videos += len(videos)
        self.integers += videos.integers.sum(axis=0)
        count = videos.count
        total, absolute = videos.sum_of("sum"), videos.sum_of("absolute")
        mean = total / np.maximum(count, 1)
        together, middle = count.sum(axis=0), total.sum(axis=0) / np.maximum(count.sum(axis=0), 1)
        between = (count * (mean - middle) ** 2).sum(axis=0)
        self._merge_moments(together, middle, videos.sum_of("squares").sum(axis=0) + between)
        self.positive += ((absolute + total) / 2).sum(axis=0)
        self.negative += ((total - absolute) / 2).sum(axis=0)

    def merge(self, other: GateTotals) -> None:
        """Add what ``other`` has counted; both must be of the same gates."""
        if self.layout.ranges != other.layout.ranges:
            raise GatescopeError(
                "counts of different gates cannot be merged",
                received=_described(other.layout),
                expected=_described(self.layout),
            )
        self.videos += other.videos
        self.integers += other.integers
        self.positive += other.positive
        self.negative += other.negative
        self._merge_moments(other.count, other.mean, other.squares)

    def to_plain(self) -> dict[str, Any]:
        """Lists and numbers, for JSON; floats survive unchanged."""
        return {"videos": self.videos, **{name: getattr(self, name).tolist() for name in _INTS + _FLOATS}}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], layout: GateLayout) -> GateTotals:
        """The totals that :meth:`to_plain` gave; raises ``ValueError`` for what does not fit."""
        totals = cls(layout)
        try:
            totals.videos = int(plain["videos"])
            for name in _INTS + _FLOATS:
                old: NDArray[Any] = getattr(totals, name)
                new = np.array(plain[name], dtype=old.dtype)
                if new.shape != old.shape:
                    raise ValueError(f"{name} has shape {new.shape}, expected {old.shape}")
                setattr(totals, name, new)
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"not totals of gates: {error!r}") from error
        return totals

    def _merge_moments(self, count: NDArray[Any], mean: Float64s, squares: Float64s) -> None:
        total = self.count + count
        some = np.maximum(total, 1)
        distance = np.where(count > 0, mean - self.mean, 0.0)
        self.squares += np.where(count > 0, squares, 0.0) + distance * distance * self.count * count / some
        self.mean += distance * count / some
        self.count = total


def _described(layout: GateLayout) -> str:
    return ", ".join(f"{row.name} in [{row.limits.low:g}, {row.limits.high:g}]" for row in layout.rows)
