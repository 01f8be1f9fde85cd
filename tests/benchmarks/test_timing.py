"""Timing in blocks, on a clock that only the work moves."""

from __future__ import annotations

import pytest

from .spread import paired, spread
from .timing import FEWEST_CALLS, WARM_UPS, Kind, Pace, measure


class Clock:
    """Time passes in work and in pauses; the machine halves its speed from second 100 on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.log.append("pause")
        self.now += seconds

    def work(self, name: str, seconds: float) -> Kind:
        def run() -> None:
            self.log.append(name)
            self.now += seconds * (2 if self.now >= 100 else 1)

        return Kind(name, run)


def test_a_block_has_a_pause_and_an_unmeasured_call_before_it() -> None:
    clock = Clock()
    series = measure(
        [clock.work("a", 1), clock.work("b", 2)], Pace(2, 5, 0.5), clock=clock.read, sleep=clock.sleep
    )
    assert series == {"a": [1, 1], "b": [2, 2]}
    warm = WARM_UPS + 1
    a, b = ["pause", *"a" * (1 + 5)], ["pause", *"b" * (1 + FEWEST_CALLS)]
    assert clock.log == ["pause", *"a" * warm, "pause", *"b" * warm, *a, *b, *b, *a]


def test_ratios_within_a_round_do_not_see_the_machine_slow_down() -> None:
    clock = Clock()
    kinds = [clock.work("slow", 3), clock.work("fast", 1)]
    series = measure(kinds, Pace(20, 3, 0), clock=clock.read, sleep=clock.sleep)
    assert max(series["fast"]) == 2 * min(series["fast"])
    ratio = paired(series["slow"], series["fast"])
    assert ratio.median == ratio.lower == ratio.upper == 3


def test_spread_names_median_quartiles_and_extremes() -> None:
    found = spread([5, 1, 2, 4, 3])
    assert (found.smallest, found.lower, found.median, found.upper, found.largest) == (1, 2, 3, 4, 5)
    assert found.count == 5
    assert found.scaled(10).upper == 40
    assert paired([2, 9], [1, 3], 10).median == 25
    with pytest.raises(ValueError):
        paired([1], [1, 2])
