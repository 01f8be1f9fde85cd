"""Exact percentiles of a float32 stream in fixed memory, by counting.

A float32 has 2^32 bit patterns, and their order is the order of the values. A first pass counts the upper
16 bits of every value (65,536 bins), which tells the bin that holds each wanted rank; a second pass counts
the lower 16 bits within these few bins, which tells the value. Both are integer counts: any split of the
stream, merged in any order, gives the same result, equal to ``numpy.percentile`` of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

QUANTILE_BINS = 1 << 16
_SIGN = 0x8000
_EXPONENT = 0x7F80
# Adding one by one is faster than a whole array of counts until there are this many values.
_FEW = 1 << 13
# Bins between the smallest and largest of values held in memory; two more take what rounding adds.
_COARSE = 256


def _ascending_bins() -> NDArray[np.int64]:
    """The upper halves of all finite floats, smallest value first (negative floats count downwards)."""
    patterns = np.concatenate([np.arange(QUANTILE_BINS - 1, _SIGN - 1, -1), np.arange(_SIGN)]).astype(
        np.int64
    )
    return patterns[(patterns & _EXPONENT) != _EXPONENT]


_ASCENDING = _ascending_bins()


class BinCounts:
    """First pass: how many values have each pattern of upper 16 bits. NaN and ±Inf never hold a rank."""

    def __init__(self) -> None:
        self.counts = np.zeros(QUANTILE_BINS, dtype=np.int64)

    def update(self, values: NDArray[np.float32]) -> None:
        """Add values of any shape."""
        _count(self.counts, _bits(values) >> np.uint32(16))

    def merge(self, other: BinCounts) -> None:
        """Add what ``other`` has counted."""
        self.counts += other.counts

    @property
    def total(self) -> int:
        """How many finite values were counted."""
        return int(self.counts[_ASCENDING].sum())

    def locate(self, rank: int) -> tuple[int, int]:
        """The bin that holds the value of ``rank`` (0 is the smallest), and its rank within that bin."""
        below = np.cumsum(self.counts[_ASCENDING])
        place = int(np.searchsorted(below, rank, side="right"))
        before = int(below[place - 1]) if place else 0
        return int(_ASCENDING[place]), rank - before

    def bins_for(self, percentiles: Sequence[float]) -> frozenset[int]:
        """The bins a second pass must look into for these percentiles."""
        total = self.total
        ranks = (
            {rank for wanted in percentiles for rank in _ranks(total, wanted)[:2]} if total else set[int]()
        )
        return frozenset(self.locate(rank)[0] for rank in ranks)


class RankCounts:
    """Second pass: how many values have each pattern of lower 16 bits, within chosen bins."""

    def __init__(self, bins: Iterable[int]) -> None:
        self.bins = tuple(sorted(set(bins)))
        self.counts = np.zeros((len(self.bins), QUANTILE_BINS), dtype=np.int64)
        self._row_of_bin = np.full(QUANTILE_BINS, -1, dtype=np.int32)
        self._row_of_bin[list(self.bins)] = np.arange(len(self.bins))

    def update(self, values: NDArray[np.float32]) -> None:
        """Add values of any shape; those outside the chosen bins are passed over."""
        bits = _bits(values)
        rows = self._row_of_bin[bits >> 16]
        inside = np.flatnonzero(rows >= 0)
        places = (rows[inside].astype(np.int64) << 16) | (bits[inside] & 0xFFFF)
        np.add.at(self.counts.reshape(-1), places, 1)

    def merge(self, other: RankCounts) -> None:
        """Add what ``other`` has counted; it must have looked into all bins of this one."""
        for row, wanted in enumerate(self.bins):
            self.counts[row] += other.counts[other.bins.index(wanted)]

    def value(self, wanted: int, rank: int) -> float:
        """The value at ``rank`` within the bin ``wanted``."""
        counts = self.counts[self.bins.index(wanted)]
        if wanted & _SIGN:  # the larger the pattern of a negative float, the smaller the float
            lower = QUANTILE_BINS - 1 - int(np.searchsorted(np.cumsum(counts[::-1]), rank, side="right"))
        else:
            lower = int(np.searchsorted(np.cumsum(counts), rank, side="right"))
        return float(np.array([(wanted << 16) | lower], dtype=np.uint32).view(np.float32)[0])


def streamed_percentiles(
    first: BinCounts, second: RankCounts, percentiles: Sequence[float]
) -> tuple[float, ...]:
    """The percentiles of what both passes have seen, as ``numpy.percentile`` on float64; of nothing, NaN.

    ``second`` must have looked into ``first.bins_for(percentiles)`` at least.
    """
    total = first.total
    if total == 0:
        return (math.nan,) * len(percentiles)
    result: list[float] = []
    for wanted in percentiles:
        low, high, weight = _ranks(total, wanted)
        result.append(_between(second.value(*first.locate(low)), second.value(*first.locate(high)), weight))
    return tuple(result)


def percentiles_of(values: NDArray[np.float32], percentiles: Sequence[float]) -> tuple[float, ...]:
    """The percentiles of finite values held in memory (any shape), as ``numpy.percentile`` on float64."""
    flat = values.reshape(-1)
    if flat.size == 0:
        return (math.nan,) * len(percentiles)
    places = [_ranks(flat.size, wanted) for wanted in percentiles]
    at = _values_at(flat, sorted({rank for low, high, _ in places for rank in (low, high)}))
    return tuple(_between(at[low], at[high], weight) for low, high, weight in places)


def _values_at(values: NDArray[np.float32], ranks: list[int]) -> dict[int, float]:
    """The finite values at ``ranks`` (ascending, 0 is the smallest)."""
    low, high = values.min(), values.max()
    with np.errstate(over="ignore", divide="ignore"):
        scale = np.float32(_COARSE) / (high - low)
    if values.size < _FEW or not np.isfinite(scale) or scale == 0:
        ordered = np.partition(values, ranks)
        return {rank: float(ordered[rank]) for rank in ranks}
    # Only the coarse bins that hold a rank are sorted: a quarter of the time. Rounding cannot mix up the
    # order, for each step of the binning is monotone.
    bins = ((values - low) * scale).astype(np.uint16)
    counts = np.bincount(bins, minlength=_COARSE + 2)
    bin_of_rank = np.searchsorted(np.cumsum(counts), ranks, side="right")
    held = np.zeros(counts.size, dtype=np.bool_)
    held[bin_of_rank] = True
    passed = np.cumsum(np.where(held, 0, counts))
    sorted_part = np.sort(values[held[bins]])
    return {
        rank: float(sorted_part[rank - passed[place]]) for rank, place in zip(ranks, bin_of_rank, strict=True)
    }


def _ranks(total: int, percentile: float) -> tuple[int, int, float]:
    """The two ranks a percentile lies between and its weight towards the upper one (numpy's "linear")."""
    place = (total - 1) * (percentile / 100)
    low = math.floor(place)
    return low, min(low + 1, total - 1), place - low


def _between(low: float, high: float, weight: float) -> float:
    # From the nearer end, as numpy does it: the same rounding, hence the same number.
    if weight >= 0.5:
        return high - (high - low) * (1 - weight)
    return low + (high - low) * weight


def _bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(values, dtype=np.float32).reshape(-1).view(np.uint32)


def _count(counts: NDArray[np.int64], places: NDArray[np.uint32]) -> None:
    if places.size < _FEW:
        np.add.at(counts, places, 1)
    else:
        counts += np.bincount(places, minlength=counts.size)
