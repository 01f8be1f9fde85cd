"""Means over seeds and videos against other ways to the same numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from gatescope.analysis.statistics.repeats import repeated_difference, repeated_mean
from gatescope.analysis.statistics.student import each_of, t_quantile


@pytest.mark.parametrize("degrees", [0.7, 1, 1.3, 2, 3.7, 9, 40.2, 1e4, 1e8])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.9898, 0.9997])
def test_students_t(degrees: float, level: float) -> None:
    assert t_quantile(level, degrees) == pytest.approx(stats.t.ppf((1 + level) / 2, degrees), rel=1e-5)


def test_levels_of_several_intervals_multiply_to_that_of_all() -> None:
    assert each_of(0.95, 5) ** 5 == pytest.approx(0.95)
    assert each_of(0.95, 0) == 0.95


def random_table(seeds: int, videos: int, seed: int, of_seeds: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=videos)
        + of_seeds * rng.normal(size=(seeds, 1))
        + 0.4 * rng.normal(size=(seeds, videos))
    )


def test_the_mean_of_runs_and_how_they_spread() -> None:
    table = random_table(3, 40, 1)
    found = repeated_mean(table)
    assert found.estimate == pytest.approx(table.mean())
    assert found.spread == pytest.approx(table.mean(axis=1).std(ddof=1))
    assert (found.seeds, found.units, found.seeded) == (3, 40, True)
    # Never narrower than what seeds alone, or videos alone, explain.
    by_seed = stats.t.ppf(0.975, 2) * stats.sem(table.mean(axis=1))
    by_video = stats.t.ppf(0.975, 39) * stats.sem(table.mean(axis=0))
    half = (found.high - found.low) / 2
    assert max(by_seed, 0.9 * by_video) < half < math.hypot(by_seed, by_video) + 1e-12


def test_one_run_has_an_interval_of_videos_alone() -> None:
    table = random_table(1, 40, 2)
    found = repeated_mean(table)
    assert math.isnan(found.spread) and not found.seeded
    assert (found.high - found.low) / 2 == pytest.approx(stats.t.ppf(0.975, 39) * stats.sem(table[0]))


def test_one_column_has_an_interval_of_seeds_alone() -> None:
    table = random_table(4, 1, 3)
    found = repeated_mean(table)
    assert (found.high - found.low) / 2 == pytest.approx(stats.t.ppf(0.975, 3) * stats.sem(table[:, 0]))


def test_one_number_has_no_interval() -> None:
    found = repeated_mean(np.array([[0.5]]))
    assert found.estimate == 0.5 and math.isnan(found.low) and math.isnan(found.spread)


def test_a_difference_of_one_column_is_welchs() -> None:
    first, other = random_table(4, 1, 4), random_table(3, 1, 5, of_seeds=0.2) + 1
    found = repeated_difference(first, other)
    theirs = stats.ttest_ind(other[:, 0], first[:, 0], equal_var=False).confidence_interval()
    assert found.estimate == pytest.approx(other.mean() - first.mean())
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high)) and found.told_apart


def test_videos_that_both_settings_saw_cancel() -> None:
    table = random_table(3, 40, 6)
    shifted = random_table(3, 40, 6) + 5 + np.linspace(0, 1e-9, 40)
    found = repeated_difference(table, shifted)
    assert found.estimate == pytest.approx(5)
    # Only seeds are left: between videos there is nothing.
    half = stats.t.ppf(0.975, 4) * math.hypot(*[stats.sem(table.mean(axis=1))] * 2)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=1e-6)


def test_one_seed_tells_nothing_apart() -> None:
    many, one = random_table(3, 40, 7), random_table(1, 40, 8) + 100
    found = repeated_difference(many, one)
    assert found.low > 0 and found.seeds == 1 and not found.told_apart


def test_runs_that_agree_to_the_last_digit_say_little_of_seeds() -> None:
    """Hits of few videos: every run has two of four, but not the same two."""
    first = np.array([[1.0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]])
    other = np.array([[1.0, 1, 1, 0], [0, 1, 1, 1], [1, 1, 0, 1]])
    found = repeated_difference(first, other)
    assert found.low < 0.25 < found.high and not found.told_apart
