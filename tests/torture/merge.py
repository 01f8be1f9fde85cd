"""Counts and baselines of any split, merged in any order, against the whole at once.

Goal: over 10,000 random splits and orders identical integers, and the sum of squares (M2) within 1e-12 of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gatescope.runtime.monitor.baseline.videos import BaselineVideos
from gatescope.runtime.monitor.counting.totals import GateTotals

from .population import LAYOUT, population
from .row import Row

_VIDEOS = 400


def measure(short: bool, tell: Callable[[str], None]) -> list[Row]:
    """Totals in every split, and every fiftieth time the baselines of the same pieces."""
    rng = np.random.default_rng(13)
    counts = population(_VIDEOS, rng)
    names = [f"v{number}" for number in range(_VIDEOS)]
    slices = ["ko" if number % 3 else "en" for number in range(_VIDEOS)]
    whole = GateTotals(LAYOUT)
    whole.update(counts)
    kept = BaselineVideos.of(LAYOUT, names, names, slices, counts)

    splits, different, farthest, baselines, unequal = 200 if short else 10_000, 0, 0.0, 0, 0
    for number in range(splits):
        pieces = _split(rng)
        merged = GateTotals(LAYOUT)
        for piece in pieces:
            own = GateTotals(LAYOUT)
            own.update(counts[piece])
            merged.merge(own)
        different += not (
            merged.videos == whole.videos
            and np.array_equal(merged.integers, whole.integers)
            and np.array_equal(merged.count, whole.count)
        )
        farthest = max(farthest, float((np.abs(merged.squares - whole.squares) / whole.squares).max()))
        if number % 50 == 0:
            baselines += 1
            parts = [
                BaselineVideos.of(
                    LAYOUT,
                    [names[i] for i in piece],
                    [names[i] for i in piece],
                    [slices[i] for i in piece],
                    counts[piece],
                )
                for piece in pieces
            ]
            unequal += not _equal(BaselineVideos.joined(parts), kept)
    tell(f"{splits} splits: {different} with other integers, M2 off by {farthest:.1e} at most")
    return [
        Row(
            "merge in any split and order",
            "identical integers, M2 within 1e-12",
            f"{splits} splits: {different} with other integers, M2 within {farthest:.1e}",
            different == 0 and farthest <= 1e-12,
        ),
        Row(
            "baselines of any split and order",
            "identical",
            f"{baselines} splits: {unequal} that differ",
            unequal == 0,
        ),
    ]


def _split(rng: np.random.Generator) -> list[list[int]]:
    """All videos in a random order, cut at random places into up to twenty pieces."""
    order = rng.permutation(_VIDEOS)
    cuts = np.sort(rng.choice(np.arange(1, _VIDEOS), rng.integers(0, 20), replace=False))
    return [piece.tolist() for piece in np.split(order, cuts)]


def _equal(one: BaselineVideos, other: BaselineVideos) -> bool:
    return (
        np.array_equal(one.videos, other.videos)
        and np.array_equal(one.samples, other.samples)
        and np.array_equal(one.slices, other.slices)
        and np.array_equal(one.counts.integers, other.counts.integers)
        and np.array_equal(one.counts.sums, other.counts.sums)
    )
