"""Means over runs that differ only in seed, and differences of such means: intervals for seeds and videos.

The runs of a setting are a sample of seeds, the videos a sample of videos, and every run saw the same videos:
a table of seeds × videos. The variance of its mean has a part from seeds (A, from the runs' own means) and a
part from videos (B, from the videos' means over runs); what seed and video do together (C) is in both and is
taken off once, as in two-way clustering (Cameron, Gelbach and Miller, 2011).

With three seeds, resampling seeds draws from three numbers, and its intervals are far too narrow (`python -m
tests.torture repeats`). Here each part is estimated once and has a factor of Student's t with its own degrees
of freedom:

    half width = √( t²(seeds) · A + t²(videos − 1) · max(B − C, 0) )

which is at least as wide as one factor for the sum. Of a difference A is the sum over both settings, with
Welch's degrees of freedom, and B is of the videos' own differences: both settings saw the same videos.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...runtime.array_types import Float64s
from .bootstrap import LEVEL
from .student import t_quantile


@dataclass(frozen=True)
class RepeatedMean:
    """A mean over ``seeds`` runs and ``units`` videos, and its interval; NaN where there is none.

    - ``spread``: the standard deviation of the runs' own means; NaN with one run.
    - ``seeded``: whether the interval carries seeds; with one run it carries videos alone.
    """

    estimate: float
    spread: float
    low: float
    high: float
    seeds: int
    units: int

    @property
    def seeded(self) -> bool:
        """Whether the variance between seeds is known."""
        return self.seeds > 1


@dataclass(frozen=True)
class RepeatedDifference:
    """The mean of one setting less that of another, over the same ``units``, with its interval.

    ``seeds``: the smaller number of runs of the two.
    """

    estimate: float
    low: float
    high: float
    seeds: int
    units: int

    @property
    def told_apart(self) -> bool:
        """Whether the interval excludes 0 and carries seeds: with one run per setting it does not."""
        return self.seeds > 1 and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class _Parts:
    """``seed``: A. ``both``: C. ``runs`` (seeds,): means over videos; ``units`` (videos,): over runs."""

    runs: Float64s
    units: Float64s
    seed: float
    both: float


def repeated_mean(table: Float64s, *, level: float = LEVEL) -> RepeatedMean:
    """The mean of ``table`` (seeds, videos), every video weighing the same.

    One column, such as a metric of which only each run's total is known, gives an interval for seeds alone.
    """
    parts, (seeds, units) = _parts(table), table.shape
    video = 0.0 if units < 2 else max(_of_units(parts.units) - parts.both, 0.0)
    half = _half_width(parts.seed, seeds - 1.0, video, units, level)
    centre = float(parts.runs.mean())
    spread = float(parts.runs.std(ddof=1)) if seeds > 1 else math.nan
    return RepeatedMean(centre, spread, centre - half, centre + half, seeds, units)


def repeated_difference(first: Float64s, other: Float64s, *, level: float = LEVEL) -> RepeatedDifference:
    """``other`` less ``first``, tables (seeds, videos) of the same videos in the same order."""
    one, two = _parts(first), _parts(other)
    units = first.shape[1]
    video = 0.0 if units < 2 else max(_of_units(two.units - one.units) - one.both - two.both, 0.0)
    degrees = _welch(one.seed, len(first), two.seed, len(other))
    half = _half_width(one.seed + two.seed, degrees, video, units, level)
    centre = float(two.runs.mean() - one.runs.mean())
    return RepeatedDifference(centre, centre - half, centre + half, min(len(first), len(other)), units)


def _parts(table: Float64s) -> _Parts:
    seeds, units = table.shape
    runs, own = table.mean(axis=1), table.mean(axis=0)
    if seeds < 2:
        return _Parts(runs, own, 0.0, 0.0)
    seed = float(runs.var(ddof=1)) / seeds
    if units < 2:
        return _Parts(runs, own, seed, 0.0)
    rest = table - runs[:, None] - own + runs.mean()
    both = float((rest * rest).sum()) / ((seeds - 1) * (units - 1)) / (seeds * units)
    # Runs that agree to the last digit, as counts of few videos do, say nothing of how much they vary.
    return _Parts(runs, own, seed or both, both)


def _of_units(values: Float64s) -> float:
    return float(values.var(ddof=1)) / len(values)


def _welch(one: float, first: int, two: float, second: int) -> float:
    """Degrees of freedom of a sum of two variances of ``first`` and ``second`` runs; 0 where one has one run.

    Welch's, and not more than if both settings varied alike: estimated from a handful of runs, the smaller
    group's share of the variance can come out far too small.
    """
    if min(first, second) < 2:
        return 0.0
    alike = (1 / first + 1 / second) ** 2 / (1 / (first**2 * (first - 1)) + 1 / (second**2 * (second - 1)))
    below = one**2 / (first - 1) + two**2 / (second - 1)
    return alike if below == 0 else min(alike, (one + two) ** 2 / below)


def _half_width(seed: float, degrees: float, video: float, units: int, level: float) -> float:
    if degrees <= 0 and units < 2:
        return math.nan
    of_seeds = t_quantile(level, degrees) ** 2 * seed if degrees > 0 else 0.0
    of_videos = t_quantile(level, units - 1.0) ** 2 * video if units > 1 else 0.0
    return math.sqrt(of_seeds + of_videos)
