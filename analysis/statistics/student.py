"""Student's t: how many standard errors an interval reaches when the error itself was estimated from few."""

from __future__ import annotations

import math
from functools import lru_cache

_STEPS = 300
_ENOUGH = 1e-12
# Beyond it the distribution is the normal one to six digits.
_MANY = 1e6


@lru_cache(maxsize=4096)
def t_quantile(level: float, degrees: float) -> float:
    """The half width, in standard errors, of an interval that holds with probability ``level``.

    ``degrees`` of freedom need not be whole (Welch); above 0. Found by halving an interval, with the
    distribution function right to six digits.
    """
    degrees = min(degrees, _MANY)
    low, high = 0.0, 2.0
    while _within(high, degrees) < level and math.isfinite(high):
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if high - low <= _ENOUGH * high:
            break
        low, high = (middle, high) if _within(middle, degrees) < level else (low, middle)
    return (low + high) / 2


def each_of(level: float, count: int) -> float:
    """The level of one interval of ``count`` that together hold with at least ``level``.

    Šidák (1967): for estimates with normal errors this holds however they depend on each other.
    """
    return level ** (1 / max(count, 1))


def _within(value: float, degrees: float) -> float:
    """The probability that \\|t\\| is below ``value``."""
    x = degrees / (degrees + value * value)
    return 1.0 - _incomplete_beta(degrees / 2, 0.5, x)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function (Abramowitz and Stegun, 26.5.8)."""
    if x <= 0.0 or x >= 1.0:
        return min(max(x, 0.0), 1.0)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1.0 - front * _fraction(b, a, 1.0 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's way from the front."""
    tiny = 1e-300
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0) or tiny)
    found = d
    for m in range(1, _STEPS):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / (1.0 + factor * d or tiny)
            c = 1.0 + factor / c or tiny
            found *= d * c
        if abs(d * c - 1.0) < _ENOUGH:
            break
    return found
