"""Intervals by resampling videos: queries and clips of one video are not independent, videos are.

The percentile bootstrap of Efron (1979), over clusters: videos are drawn with replacement, each with all its
rows, and the statistic is computed anew. One draw serves every statistic asked of a :class:`VideoBootstrap`,
so that differences between them are paired.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
SEED = 20_260
LEVEL = 0.95
#: With fewer videos percentile intervals are too narrow. With no effect at all, 95 % intervals of differences
#: excluded 0 in 27 % of 600 trials with 5 videos, 12 % with 10, 8 % with 20, 6 % with 60; correlations in
#: 10, 9, 7, 6 %.
FEW_VIDEOS = 20

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate and where it lies with probability ``level``; NaN where there is nothing to estimate.

    ``videos`` is how many videos it rests on: with fewer than two there is no interval, only the estimate.
    """

    estimate: float
    low: float
    high: float
    videos: int
    level: float = LEVEL

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside: the effect can be told apart from none at this level."""
        return self.low > 0 or self.high < 0


class VideoBootstrap:
    """Draws of the videos that rows belong to.

    ``videos`` names each row's video (any hashable text), in the order in which values will be given.
    """

    def __init__(
        self, videos: Sequence[str], *, resamples: int = RESAMPLES, seed: int = SEED, level: float = LEVEL
    ) -> None:
        names, place = np.unique(np.asarray(videos, dtype=object).astype(str), return_inverse=True)
        self._place: NDArray[np.intp] = place
        self._videos = len(names)
        self.resamples, self.level = resamples, level
        rng = np.random.default_rng(seed)
        #: How often each draw holds each video, (resamples, videos).
        self.counts: Floats = np.zeros((resamples, self._videos))
        if self._videos:
            even = np.full(self._videos, 1 / self._videos)
            self.counts += rng.multinomial(self._videos, even, size=resamples)

    def mean(self, values: ArrayLike) -> Interval:
        """The mean over rows; ``values`` (rows,), NaN where a row has none."""
        array = np.asarray(values, np.float64)
        return self._interval(_mean(array), self._means(array), ~np.isnan(array))

    def mean_difference(self, values: ArrayLike, others: ArrayLike) -> Interval:
        """The mean of ``values`` less that of ``others`` on the same rows, paired; only rows with both."""
        return self.mean(np.asarray(values, np.float64) - np.asarray(others, np.float64))

    def subset_difference(self, values: ArrayLike, inside: ArrayLike) -> Interval:
        """The mean over rows ``inside`` (rows,) bool less the mean over the rest, from the same draws."""
        array, chosen = np.asarray(values, np.float64), np.asarray(inside, np.bool_)
        one, rest = np.where(chosen, array, np.nan), np.where(chosen, np.nan, array)
        return self._interval(
            _mean(one) - _mean(rest), self._means(one) - self._means(rest), ~np.isnan(array)
        )

    def correlation(self, values: ArrayLike, others: ArrayLike) -> Interval:
        """Pearson's correlation of two values a row; ranks beforehand make it Spearman's."""
        x, y = np.asarray(values, np.float64), np.asarray(others, np.float64)
        both = ~(np.isnan(x) | np.isnan(y))
        x, y = np.where(both, x, 0.0), np.where(both, y, 0.0)
        shift_x, shift_y = _mean(np.where(both, x, np.nan)), _mean(np.where(both, y, np.nan))
        x, y = np.where(both, x - shift_x, 0.0), np.where(both, y - shift_y, 0.0)
        sums = self._sums(np.stack([both.astype(np.float64), x, y, x * x, y * y, x * y], 1))
        whole = sums.sum(0, keepdims=True)
        return self._interval(float(_correlations(whole)[0]), _correlations(self.counts @ sums), both)

    def _means(self, values: Floats) -> Floats:
        known = ~np.isnan(values)
        sums = self._sums(np.stack([np.where(known, values, 0.0), known.astype(np.float64)], 1))
        drawn = self.counts @ sums
        with np.errstate(invalid="ignore"):
            return drawn[:, 0] / drawn[:, 1]

    def _sums(self, columns: Floats) -> Floats:
        """Sums of ``columns`` (rows, k) over each video's rows, (videos, k)."""
        sums: Floats = np.zeros((self._videos, columns.shape[1]))
        np.add.at(sums, self._place, columns)
        return sums

    def _interval(self, estimate: float, drawn: Floats, known: NDArray[np.bool_]) -> Interval:
        videos = len(np.unique(self._place[known]))
        drawn = drawn[np.isfinite(drawn)]
        if videos < 2 or drawn.size == 0:
            return Interval(estimate, math.nan, math.nan, videos, self.level)
        edges = np.percentile(drawn, [50 * (1 - self.level), 50 * (1 + self.level)])
        return Interval(estimate, float(edges[0]), float(edges[1]), videos, self.level)


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _correlations(sums: Floats) -> Floats:
    n, x, y, xx, yy, xy = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt((n * xx - x * x) * (n * yy - y * y))
        return (n * xy - x * y) / spread
