"""Repeated measurements as one number with its spread, and ratios of measurements made side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """The median of ``count`` values (None: not known how many), their quartiles and extremes."""

    median: float
    lower: float
    upper: float
    smallest: float
    largest: float
    count: int | None

    def scaled(self, factor: float) -> Spread:
        """The same of values times ``factor`` > 0."""
        values = (self.median, self.lower, self.upper, self.smallest, self.largest)
        return Spread(*(value * factor for value in values), count=self.count)


def spread(values: Sequence[float]) -> Spread:
    """``values``, at least one, summed up."""
    smallest, lower, median, upper, largest = np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist()
    return Spread(median, lower, upper, smallest, largest, len(values))


def paired(upper: Sequence[float], lower: Sequence[float], factor: float = 1.0) -> Spread:
    """Of upper / lower · factor, taken round by round: what slowed a whole round cancels."""
    return spread([a / b * factor for a, b in zip(upper, lower, strict=True)])
