"""How often settings that differ only in seed are told apart: by our intervals, and by resampling seeds.

Runs are made with effects of videos, of seeds and of both together; two settings are drawn alike, with 2, 3
and 5 seeds each. Goal: in at most 5 % of 2,000 campaigns of each kind any of five metrics is told apart, and
each metric alone in at most 5 %. Of a hierarchical bootstrap (seeds within a setting, videos of all runs
together) the rate is shown, not judged: it is why campaigns do not use one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.repeats import repeated_difference
from gatescope.analysis.statistics.student import each_of

from .row import Row

MOST = 0.05
SEEDS = (2, 3, 5)
_METRICS = 5
_VIDEOS = 100
# By name: standard deviations of seeds, of seeds × videos, and of settings × videos, next to 1 for videos;
# whether values are hits and misses.
WORLDS = {
    "seeds and noise": (0.1, 0.5, 0.0, False),
    "large seeds": (0.5, 0.5, 0.0, False),
    "settings and videos": (0.1, 0.5, 0.3, False),
    "hits and misses": (0.2, 0.5, 0.0, True),
}

Table = NDArray[np.float64]


def measure(short: bool, tell: Callable[[str], None]) -> list[Row]:
    """One row per number of seeds and kind of campaign."""
    campaigns, resamples = (150, 0) if short else (2000, 400)
    rows: list[Row] = []
    for seeds in SEEDS:
        for number, (name, world) in enumerate(WORLDS.items()):
            rng = np.random.default_rng([seeds, number])
            alone, together, resampled = _rates(world, seeds, campaigns, resamples, rng)
            what = f"false differences, {seeds} seeds, {name}"
            measured = f"{together:.1%} of {campaigns} campaigns in any of {_METRICS} metrics"
            measured += f", {alone:.1%} per metric"
            measured += f"; hierarchical bootstrap {resampled:.1%} per metric" if resamples else ""
            tell(f"{what}: {measured}")
            # Of so few campaigns a rate is known to three standard errors.
            room = 3 * np.sqrt(MOST / campaigns)
            rows.append(Row(what, f"at most {MOST:.0%}", measured, bool(max(alone, together) <= MOST + room)))
    return rows


def _rates(
    world: tuple[float, float, float, bool],
    seeds: int,
    campaigns: int,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[float, float, float]:
    alone = together = resampled = 0
    for _ in range(campaigns):
        any_of = False
        # Metrics share half of every effect, as mAP and R1 do.
        pairs = _pairs(world, seeds, rng)
        for first, other in pairs:
            alone += repeated_difference(first, other).told_apart
            any_of |= repeated_difference(first, other, level=each_of(0.95, _METRICS)).told_apart
        together += any_of
        if resamples:
            resampled += _bootstrapped(*pairs[0], resamples, rng)
    return alone / campaigns / _METRICS, together / campaigns, resampled / campaigns


def _pairs(
    world: tuple[float, float, float, bool], seeds: int, rng: np.random.Generator
) -> list[tuple[Table, Table]]:
    """Two settings drawn alike, of each metric: tables (seeds, videos)."""
    of_seeds, of_both, of_settings, binary = world

    def shared(*shape: int) -> Table:
        common, own = rng.normal(size=shape), rng.normal(size=(_METRICS, *shape))
        return np.sqrt(0.5) * (common + own)

    videos = shared(_VIDEOS)[:, None]
    settings = [
        videos
        + of_settings * shared(_VIDEOS)[:, None]
        + of_seeds * shared(seeds)[:, :, None]
        + of_both * shared(seeds, _VIDEOS)
        for _ in range(2)
    ]
    if binary:
        settings = [(rng.random(one.shape) < 1 / (1 + np.exp(-one))).astype(np.float64) for one in settings]
    return [(settings[0][at], settings[1][at]) for at in range(_METRICS)]


def _bootstrapped(first: Table, other: Table, resamples: int, rng: np.random.Generator) -> bool:
    """Whether the percentile interval of seeds resampled within settings, and videos together, excludes 0."""
    seeds, videos = first.shape
    weights = rng.multinomial(videos, np.full(videos, 1 / videos), size=resamples) / videos
    means: list[Table] = []
    for table in (first, other):
        drawn = rng.integers(0, seeds, (resamples, seeds))
        means.append((weights @ table.T)[np.arange(resamples)[:, None], drawn].mean(axis=1))
    low, high = np.percentile(means[1] - means[0], [2.5, 97.5])
    return bool(low > 0 or high < 0)
