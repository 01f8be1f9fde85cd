"""Times calls: how long each takes, and how many samples get through, with any number of callers at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# However slow a call is, a median needs some.
FEWEST_CALLS = 3
# The first calls of a shape allocate memory and wake threads.
_WARM_UP_CALLS = 3
WARM_UP_SECONDS = 0.2


@dataclass(frozen=True)
class Budget:
    """How long to measure one thing.

    For ``seconds``, and ``fewest`` calls at least; or, with ``repeats``, for exactly so many calls (of every
    caller), whatever time they take.
    """

    seconds: float = 2.0
    repeats: int | None = None
    fewest: int = FEWEST_CALLS

    def spent(self, calls: int, began: float) -> bool:
        """Whether ``calls`` calls since ``began`` (of :func:`time.perf_counter`) are enough."""
        if self.repeats is not None:
            return calls >= self.repeats
        return calls >= self.fewest and time.perf_counter() - began >= self.seconds

    def split(self, rounds: int) -> list[Budget]:
        """This budget in ``rounds`` pieces, fewer where there are fewer repeats."""
        if self.repeats is None:
            fewest = -(-self.fewest // rounds)
            return [Budget(self.seconds / rounds, fewest=fewest) for _ in range(rounds)]
        rounds = min(rounds, self.repeats)
        whole, rest = divmod(self.repeats, rounds)
        return [Budget(repeats=whole + (number < rest)) for number in range(rounds)]


@dataclass(frozen=True)
class TimedCall:
    """When one call began and ended, in seconds of :func:`time.perf_counter`."""

    began: float
    ended: float


def warm_up(call: Callable[[int], object]) -> None:
    """Do ``call`` a few times; a slow one once."""
    began = time.perf_counter()
    for number in range(_WARM_UP_CALLS):
        call(number)
        if time.perf_counter() - began >= WARM_UP_SECONDS:
            break


def time_calls(call: Callable[[int], object], budget: Budget, *, concurrency: int = 1) -> list[TimedCall]:
    """Let ``concurrency`` threads do ``call`` again and again at the same time.

    ``call`` is given the number of the call, from 0. What it raises is raised, and ends all threads.
    """
    stop = threading.Event()
    start = threading.Barrier(concurrency)

    def work(caller: int) -> list[TimedCall]:
        done: list[TimedCall] = []
        start.wait()
        first = time.perf_counter()
        try:
            while not stop.is_set() and not budget.spent(len(done), first):
                before = time.perf_counter()
                call(caller + len(done) * concurrency)
                done.append(TimedCall(before, time.perf_counter()))
        except BaseException:
            stop.set()
            raise
        return done

    with ThreadPoolExecutor(concurrency) as threads:
        try:
            callers = [threads.submit(work, caller) for caller in range(concurrency)]
            return [one for caller in callers for one in caller.result()]
        finally:
            stop.set()


def latencies_ms(calls: Sequence[TimedCall]) -> tuple[float, float, float]:
    """The 50th, 95th and 99th percentile of the calls' durations, in milliseconds."""
    p50, p95, p99 = np.percentile([1e3 * (call.ended - call.began) for call in calls], [50, 95, 99])
    return float(p50), float(p95), float(p99)


def block_rates(calls: Sequence[TimedCall], block: int) -> list[float]:
    """Calls per second in each block of ``block`` calls that ended one after the other.

    With a block as long as a round (every caller once, every batch once) a rate is that of a round. What is
    left over is not counted; fewer calls than one block are one block.
    """
    ends = sorted(call.ended for call in calls)
    block = min(block, len(ends))
    marks = [min(call.began for call in calls), *ends[block - 1 :: block]]
    return [block / (after - before) for before, after in pairwise(marks)]
