"""Mean, spread and shares of a stream of gates, mergeable in any split and order."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .limits import NEAR_ZERO, GateLimits


@dataclass(frozen=True)
class MomentSummary:
    """What a stream of gates adds up to. Shares are fractions of ``count``; NaN where ``count`` is 0.

    - ``count``: finite values; everything but the last two fields is over these.
    - ``std``: of the population (numpy's default). ``mean_abs``: mean of \\|g\\|.
    - ``nan_count``, ``inf_count``: values left out of all other numbers.
    """

    count: int
    mean: float
    std: float
    min: float
    max: float
    mean_abs: float
    share_positive: float
    share_saturated: float
    share_near_zero: float
    share_rails: float
    nan_count: int
    inf_count: int


class Moments:
    """Accumulates what can be known of a stream of gates without keeping it.

    Counts, minimum and maximum do not depend on how the stream was split; mean and spread are merged by
    Chan, Golub and LeVeque (1983) and agree to rounding.
    """

    def __init__(self, limits: GateLimits) -> None:
        self.limits = limits
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0  # sum of squared distances from the mean (M2)
        self.sum_abs = 0.0
        self.min = math.inf
        self.max = -math.inf
        self.positive = 0
        self.saturated = 0
        self.near_zero = 0
        self.rails = 0
        self.nan = 0
        self.infinite = 0

    def update(self, values: NDArray[np.float32]) -> None:
        """Add values of any shape; NaN and ±Inf are counted apart."""
        flat = values.reshape(-1).astype(np.float64)
        finite = np.isfinite(flat)
        if not finite.all():
            nan = int(np.count_nonzero(np.isnan(flat)))
            self.nan += nan
            self.infinite += flat.size - int(np.count_nonzero(finite)) - nan
            flat = flat[finite]
        if flat.size == 0:
            return
        limits = self.limits
        size = np.abs(flat)
        self.sum_abs += float(size.sum())
        self.near_zero += int(np.count_nonzero(size < NEAR_ZERO))
        self.positive += int(np.count_nonzero(flat > 0))
        self.saturated += _outside(flat, limits.saturated_low, limits.saturated_high)
        self.rails += _outside(flat, limits.rails_low, limits.rails_high)
        self.min = min(self.min, float(flat.min()))
        self.max = max(self.max, float(flat.max()))
        mean = float(flat.mean())
        flat -= mean
        self._merge_moments(flat.size, mean, float((flat * flat).sum()))

    def merge(self, other: Moments) -> None:
        """Add what ``other`` has seen. Each keeps the limits it counted with."""
        self._merge_moments(other.count, other.mean, other.squares)
        self.sum_abs += other.sum_abs
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)
        self.positive += other.positive
        self.saturated += other.saturated
        self.near_zero += other.near_zero
        self.rails += other.rails
        self.nan += other.nan
        self.infinite += other.infinite

    def finalise(self) -> MomentSummary:
        """The numbers so far; can be called at any time."""
        n = self.count
        return MomentSummary(
            count=n,
            mean=self.mean if n else math.nan,
            std=math.sqrt(self.squares / n) if n else math.nan,
            min=self.min if n else math.nan,
            max=self.max if n else math.nan,
            mean_abs=_share(self.sum_abs, n),
            share_positive=_share(self.positive, n),
            share_saturated=_share(self.saturated, n),
            share_near_zero=_share(self.near_zero, n),
            share_rails=_share(self.rails, n),
            nan_count=self.nan,
            inf_count=self.infinite,
        )

    def _merge_moments(self, count: int, mean: float, squares: float) -> None:
        if count == 0:
            return
        total = self.count + count
        distance = mean - self.mean
        self.mean += distance * count / total
        self.squares += squares + distance * distance * self.count * count / total
        self.count = total


def _outside(values: NDArray[np.float64], low: float, high: float) -> int:
    """How many values are at or beyond either end; one that is both (an empty range) counts once."""
    return int(np.count_nonzero((values <= low) | (values >= high)))


def _share(part: float, whole: int) -> float:
    return part / whole if whole else math.nan
