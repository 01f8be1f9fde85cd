"""Kinds of work timed side by side: in blocks, round after round, with a pause before each block.

One kind's threads may spin for a while after its call, and would slow the next: hence the pause. The speed of
a machine drifts: hence rounds in which every kind has its turn, every second round in reverse order, and
ratios taken within a round.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Seconds of one call, by kind: the median of a block for each round.
Series = dict[str, list[float]]

WARM_UPS = 2
FEWEST_CALLS, MOST_CALLS = 3, 200


@dataclass(frozen=True)
class Kind:
    """Something to time: ``run`` does ``samples`` samples at a call."""

    name: str
    run: Callable[[], object]
    samples: int = 1


@dataclass(frozen=True)
class Pace:
    """How much is measured: rounds, seconds of a block of calls, seconds of pause before it."""

    rounds: int
    block: float
    pause: float


def measure(
    kinds: Sequence[Kind],
    pace: Pace,
    *,
    tell: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Series:
    """Time every kind, whose names differ."""
    calls: dict[str, int] = {}
    for kind in kinds:
        tell(f"warming up {kind.name}")
        sleep(pace.pause)
        for _ in range(WARM_UPS):
            kind.run()
        calls[kind.name] = _calls(_seconds(kind, clock), pace.block)
    series: Series = {kind.name: [] for kind in kinds}
    for i in range(pace.rounds):
        tell(f"round {i + 1} of {pace.rounds}")
        for kind in kinds if i % 2 == 0 else reversed(kinds):
            sleep(pace.pause)
            kind.run()  # fetches back into the caches what the kind before it drove out
            block = [_seconds(kind, clock) for _ in range(calls[kind.name])]
            series[kind.name].append(statistics.median(block))
    return series


def _seconds(kind: Kind, clock: Callable[[], float]) -> float:
    start = clock()
    kind.run()
    return clock() - start


def _calls(seconds: float, block: float) -> int:
    return max(FEWEST_CALLS, min(MOST_CALLS, math.ceil(block / max(seconds, 1e-9))))
