"""Thresholds for a window of videos: how far it may be from the baseline by chance, and not further.

No window of ``m`` videos equals the baseline, and no baseline of ``n`` videos equals the traffic it was drawn
from. Both errors are in the thresholds. Windows are drawn from the traffic as it may be, given the baseline:
the weights of its videos are drawn from a Dirichlet distribution (the Bayesian bootstrap; Rubin, 1981), then
``m`` whole videos from these weights, and their statistics are compared with the baseline as it is.

The false-alarm rate is that of a whole window over everything watched in it: four fifths of it go to the
continuous statistics, held by the largest of them in each drawn window, after each was divided by its own
spread (Westfall and Young, 1993); the rest is shared evenly by the flags, whose threshold is the
beta-binomial one given how many videos of the baseline had the flag, with Jeffreys' prior. With few videos in
the baseline the spread itself is uncertain; the quantile is widened as Student's is over the normal. What
then holds the rate on average over baselines is widened further, so that it holds for the one at hand: its
error is the same in every window and averages out in none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...array_types import Float64s
from ..alarm import AlarmKind
from ..counting.layout import GateLayout
from ..counting.videos import VideoCounts
from ..detectors import DISTANCES, FLAGS, REPEATED, additive, distances

THRESHOLD_SEED = 20_262
_DRAWS = 8000
_BLOCK = 250
# Of the false-alarm rate, what the continuous statistics get.
_CONTINUOUS_SHARE = 0.8
# Widening for the baseline at hand: a part that every baseline needs, and one that grows with the share of
# its own error in a window's spread, √(m / (m + n)). With 1.25 for all, one in twenty baselines of 100 or 300
# videos fires in up to a tenth of its windows of 200. `make torture` measures what holds with these.
_EVERY_BASELINE, _OWN_ERROR = 1.1, 0.5


@dataclass(frozen=True, eq=False)
class Thresholds:
    """For windows of ``window`` videos.

    - ``centre``, ``spread`` (D, R): of every distance, in windows without drift.
      ``factor``: how many spreads from its centre a distance may be.
    - ``flags``: by kind, (R,), or (1,) for what is read of the window as a whole: from how many videos on;
      more than ``window`` where even all of them would be no surprise.
    """

    window: int
    factor: float
    centre: Float64s
    spread: Float64s
    flags: dict[AlarmKind, NDArray[np.int64]]

    def to_plain(self) -> dict[str, Any]:
        """Lists and numbers, for JSON."""
        return {
            "window": self.window,
            "factor": self.factor,
            "centre": self.centre.tolist(),
            "spread": self.spread.tolist(),
            "flags": {kind: counts.tolist() for kind, counts in self.flags.items()},
        }

    @staticmethod
    def has_all(plain: dict[str, Any]) -> bool:
        """Whether what :meth:`to_plain` gave has every detector; older baselines lack those made since."""
        return len(plain["centre"]) == len(DISTANCES) and {*FLAGS, *REPEATED} <= set(plain["flags"])

    @classmethod
    def from_plain(cls, plain: dict[str, Any], rows: int) -> Thresholds:
        """What :meth:`to_plain` gave; raises ``ValueError``, ``KeyError`` or ``TypeError`` for others."""
        made = cls(
            int(plain["window"]),
            float(plain["factor"]),
            np.array(plain["centre"], np.float64),
            np.array(plain["spread"], np.float64),
            {kind: np.array(counts, np.int64) for kind, counts in plain["flags"].items()},
        )
        # Older baselines could be made of videos with such gates, and let them pass.
        for kind, flag in FLAGS.items():
            if flag.never_by_chance:
                made.flags[kind] = np.ones(rows, np.int64)
        shape = (len(DISTANCES), rows)
        if made.centre.shape != shape or made.spread.shape != shape or made.window < 1:
            raise ValueError(f"thresholds of shape {made.centre.shape}, expected {shape}")
        return made


def thresholds(
    layout: GateLayout,
    videos: VideoCounts,
    frozen: int,
    window: int,
    false_alarms: float,
    *,
    seed: int = THRESHOLD_SEED,
) -> Thresholds:
    """Thresholds for windows of ``window`` videos; the same for the same arguments.

    ``videos``: the baseline's (N ≥ 2). ``frozen``: how many of them had the gates of the one before.
    ``false_alarms``: in how many windows without drift, as a share, anything at all may fire.
    """
    table = additive(videos)
    n = len(videos)
    baseline = table.sum(axis=0)
    flat = table.reshape(n, -1)
    drawn = np.concatenate(
        [
            distances(layout, (counts @ flat).reshape(len(counts), *baseline.shape), baseline)
            for counts in _drawn_windows(n, window, seed)
        ]
    )
    centre = drawn.mean(axis=0)
    # A statistic that never moved in the baseline may move by what one odd video in N + 1 would cause.
    floor = math.sqrt((1 / window + 1 / n) / (n + 1))
    spread = np.maximum(drawn.std(axis=0), 0.1 * floor)
    largest = _sides((drawn - centre) / spread).max(axis=(1, 2))
    rate = _CONTINUOUS_SHARE * false_alarms
    # Where nothing ever varied it would be 0: then what as many normal statistics would need.
    least = NormalDist().inv_cdf(1 - rate / (2 * centre.size))
    factor = _widened(max(float(np.quantile(largest, 1 - rate, method="higher")), least), n)
    factor *= _EVERY_BASELINE + _OWN_ERROR * math.sqrt(window / (window + n))
    return Thresholds(window, factor, centre, spread, _flags(videos, frozen, window, false_alarms))


def standing(centre: Float64s, spread: Float64s, found: Float64s) -> Float64s:
    """How many spreads each distance (…, D, R) is from its centre, in the direction that is watched."""
    return _sides((found - centre) / spread)


def _sides(scaled: Float64s) -> Float64s:
    """Some distances can only be too large; those that can be off either way count by their size."""
    two_sided = np.array([one.two_sided for one in DISTANCES.values()])[:, None]
    return np.where(two_sided, np.abs(scaled), scaled)


def _drawn_windows(videos: int, window: int, seed: int) -> list[NDArray[np.float64]]:
    """How often each of ``videos`` is in each drawn window, in blocks of windows (_BLOCK, videos)."""
    rng = np.random.default_rng(seed)
    blocks: list[NDArray[np.float64]] = []
    for _ in range(_DRAWS // _BLOCK):
        weights = rng.standard_exponential((_BLOCK, videos)).cumsum(axis=1)
        weights /= weights[:, -1:]
        row = np.arange(_BLOCK)[:, None]
        # One search over all windows: each window's weights lie between its number and the next.
        chosen = np.searchsorted(
            (weights + row).reshape(-1), (rng.random((_BLOCK, window)) + row).reshape(-1)
        )
        chosen = np.minimum(chosen, _BLOCK * videos - 1)
        counts = np.bincount(chosen, minlength=_BLOCK * videos).reshape(_BLOCK, videos)
        blocks.append(counts.astype(np.float64))
    return blocks


def _widened(factor: float, videos: int) -> float:
    """The quantile of Student's distribution that stands for the normal ``factor``, with N − 1 degrees."""
    z, nu = max(factor, 0.0), max(videos - 1, 2)
    # Peizer and Pratt (1968): accurate to three digits for the few thousandths that matter here.
    if NormalDist().cdf(z) >= 1.0:
        return factor
    return math.sqrt(nu * math.expm1(z * z * (nu - 2 / 3 + 1 / (10 * nu)) / (nu - 5 / 6) ** 2))


def _flags(
    videos: VideoCounts, frozen: int, window: int, false_alarms: float
) -> dict[AlarmKind, NDArray[np.int64]]:
    rows, n = videos.integers.shape[1], len(videos)
    by_chance = sum(not flag.never_by_chance for flag in FLAGS.values())
    rate = (1 - _CONTINUOUS_SHARE) * false_alarms / (by_chance * rows + len(REPEATED))
    flags: dict[AlarmKind, NDArray[np.int64]] = {}
    for kind, flag in FLAGS.items():
        if flag.never_by_chance:  # and no baseline is made of any
            flags[kind] = np.ones(rows, np.int64)
            continue
        had = flag.of(videos).sum(axis=0)
        flags[kind] = np.array([flag_threshold(int(k), n, window, rate) for k in had], np.int64)
    for kind, repeated in REPEATED.items():
        few = math.ceil(repeated.least * window)
        flags[kind] = np.array([max(flag_threshold(frozen, n, window, rate), few)], np.int64)
    return flags


def flag_threshold(had: int, of: int, window: int, rate: float) -> int:
    """From how many flagged videos in ``window`` on chance is below ``rate``, if ``had`` of ``of`` had it.

    The beta-binomial distribution with Jeffreys' prior; ``window + 1`` where no number would be a surprise.
    """
    a, b = had + 0.5, of - had + 0.5
    tail = 0.0
    for count in range(window, -1, -1):
        tail += math.exp(
            _log_choose(window, count) + _log_beta(count + a, window - count + b) - _log_beta(a, b)
        )
        if tail > rate:
            return count + 1
    return 0


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
