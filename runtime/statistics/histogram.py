"""Fixed-bin counts of a stream of gates: what distributions are drawn from."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

BINS = 64


class Histogram:
    """Counts in 64 equal bins over a gate's range, the last one closed; values outside are counted apart."""

    def __init__(self, low: float, high: float) -> None:
        if not high > low:  # a gate whose learned scale is zero has an empty range
            low, high = low - 0.5, low + 0.5
        self.low = low
        self.high = high
        self.counts = np.zeros(BINS, dtype=np.int64)
        self.under = 0
        self.over = 0

    @property
    def edges(self) -> NDArray[np.float64]:
        """The 65 edges of the bins."""
        return np.linspace(self.low, self.high, BINS + 1)

    def bins(self) -> Iterator[tuple[float, float, int]]:
        """Lower edge, upper edge and count of every bin."""
        edges = self.edges
        for low, high, count in zip(edges[:-1], edges[1:], self.counts, strict=True):
            yield float(low), float(high), int(count)

    @property
    def entropy(self) -> float:
        """Shannon's entropy of the bins in bits: 0 all in one bin, 6 spread evenly; NaN of nothing."""
        total = int(self.counts.sum())
        if total == 0:
            return math.nan
        shares = self.counts[self.counts > 0] / total
        # Not -0.0 where everything is in one bin.
        return abs(float((shares * np.log2(shares)).sum()))

    def update(self, values: NDArray[np.float32]) -> None:
        """Add values of any shape; NaN and ±Inf are passed over (:class:`Moments` counts them)."""
        flat = values.reshape(-1).astype(np.float64)
        places = (flat - self.low) * (BINS / (self.high - self.low))
        inside = (flat >= self.low) & (flat <= self.high)
        if not inside.all():
            finite = np.isfinite(flat)
            self.under += int(np.count_nonzero(finite & (flat < self.low)))
            self.over += int(np.count_nonzero(finite & (flat > self.high)))
            places = places[inside]
        bins = np.minimum(places.astype(np.intp), BINS - 1)
        self.counts += np.bincount(bins, minlength=BINS)

    def merge(self, other: Histogram) -> None:
        """Add what ``other`` has counted; both must have the same range."""
        if (self.low, self.high) != (other.low, other.high):
            raise ValueError("histograms of different ranges cannot be merged")
        self.counts += other.counts
        self.under += other.under
        self.over += other.over
