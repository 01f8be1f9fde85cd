"""Compares two ways of computing the same thing: in turns, so that a machine's moods hit both alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from .results import Ratio
from .timing import Budget

# A block this long is measured well; blocks of one kind are short enough that nothing drifts between them.
BLOCK_SECONDS = 0.1
# Threads of one library go on spinning for a while after a call, and would slow down the other.
PAUSE_SECONDS = 0.05
# With fewer pairs, all on one side of 1 would still be chance.
_FEWEST_PAIRS = 7
_MOST_PAIRS = 200
_CHANCE = 0.05

NumberedCall = Callable[[int], object]


def ratio(first: NumberedCall, second: NumberedCall, budget: Budget) -> Ratio:
    """How long ``second`` takes for each second of ``first``.

    Blocks of calls alternate, with a short pause between them and the order turned round from pair to pair;
    each pair of blocks gives one ratio. Both calls of a pair are given the same numbers, from 0. The budget
    is that of each of the two; its ``repeats`` are pairs.
    """
    slowest = 0.0
    for call in (first, second):
        call(0)
        began = time.perf_counter()
        call(0)
        slowest = max(slowest, time.perf_counter() - began)
    calls = max(1, round(BLOCK_SECONDS / max(slowest, 1e-9)))
    ratios: list[float] = []
    spent = 0.0
    while not _enough(len(ratios), spent, budget):
        took: dict[NumberedCall, float] = {}
        for call in (first, second) if len(ratios) % 2 == 0 else (second, first):
            time.sleep(PAUSE_SECONDS)
            began = time.perf_counter()
            for number in range(calls):
                call(len(ratios) * calls + number)
            took[call] = time.perf_counter() - began
        ratios.append(took[second] / took[first])
        spent += sum(took.values())
    return ratio_of_pairs(ratios)


def ratio_of_pairs(ratios: Sequence[float]) -> Ratio:
    """The median of paired ratios, their middle half, and whether they differ from 1 by more than chance."""
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    above = sum(one > 1 for one in ratios)
    fewer = min(above, len(ratios) - above)
    chance = 2 * sum(math.comb(len(ratios), count) for count in range(fewer + 1)) / 2 ** len(ratios)
    return Ratio(float(middle), float(low), float(high), len(ratios), chance < _CHANCE)


def _enough(pairs: int, spent: float, budget: Budget) -> bool:
    if budget.repeats is not None:
        return pairs >= budget.repeats
    return pairs >= _FEWEST_PAIRS and (spent >= 2 * budget.seconds or pairs >= _MOST_PAIRS)
