"""Intervals that hold all at once: many effects are looked at, and chance alone would make some stand out.

The single-step bootstrap of Romano and Wolf (2005): every statistic's deviation from its estimate is divided
by its standard error, the largest of a family is looked at in every draw, and its quantile widens all
intervals of the family alike. Statistics that move together cost less than with Bonferroni, and nothing is
assumed of how.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np

from ...runtime.array_types import Float64s
from .bootstrap import LEVEL, Interval

# Below it a standard error is rounding: the statistic is the same number in every draw.
_NO_SPREAD = 1e-12


def simultaneous_intervals(
    estimates: Sequence[float], drawn: Float64s, videos: Sequence[int], *, level: float = LEVEL
) -> list[Interval]:
    """One interval a statistic, of which with probability ``level`` every one holds its true value.

    - ``estimates`` (k,); ``drawn`` (resamples, k): each statistic in every draw, NaN where it has no value.
    - ``videos`` (k,): how many videos each rests on; with fewer than two it has no interval.

    A statistic that is the same in every draw has an interval without width.
    """
    centre = np.asarray(estimates, np.float64)
    usable = np.isfinite(centre) & (np.asarray(videos) >= 2) & np.isfinite(drawn).any(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # columns and draws without any value
        error = np.where(usable, np.nanstd(drawn, axis=0), np.nan)
        spread = usable & (error > _NO_SPREAD)
        deviation = np.abs(drawn[:, spread] - centre[spread]) / error[spread]
        largest = np.nanmax(deviation, axis=1) if spread.any() else np.zeros(1)
    factor = float(np.nanquantile(largest, level))
    margin = np.where(spread, factor * error, 0.0)
    return [
        Interval(
            float(one),
            float(one - wide) if known else math.nan,
            float(one + wide) if known else math.nan,
            count,
            level,
        )
        for one, wide, known, count in zip(centre, margin, usable, videos, strict=True)
    ]
