"""Thresholds against windows drawn here, distributions recomputed here, and what they must grow with."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gatescope.runtime.monitor.baseline.thresholds import (
    Thresholds,
    flag_threshold,
    standing,
    thresholds,
)
from gatescope.runtime.monitor.counting.layout import COUNTED_BINS, GateLayout
from gatescope.runtime.monitor.counting.videos import count_gates
from gatescope.runtime.monitor.detectors import FLAGS, additive, distances, levels

from ....torture.population import LAYOUT, population

POPULATION = population(3000, np.random.default_rng(1))


def test_drift_is_the_wasserstein_distance_over_bins() -> None:
    layout = GateLayout.of([("attention", 0, -1.0, 1.0)])
    rng = np.random.default_rng(2)
    one, other = (rng.uniform(-1, 1, (4, 1, 9, 1)).astype(np.float32) for _ in range(2))
    a, b = (count_gates(layout, {"attention": gates}) for gates in (one, other))
    found = distances(layout, additive(a).sum(axis=0), additive(b).sum(axis=0))
    edges = np.linspace(-1, 1, COUNTED_BINS + 1)
    shares = [np.histogram(gates, edges)[0] / gates.size for gates in (one, other)]
    distance = np.abs(np.cumsum(shares[0]) - np.cumsum(shares[1])).sum() * (2 / COUNTED_BINS)
    assert found[0, 0] == pytest.approx(distance / 2, abs=1e-12)
    assert found[1, 0] == pytest.approx(
        (one.mean(dtype=np.float64) - other.mean(dtype=np.float64)) / 2, abs=1e-6
    )
    assert levels(additive(a).sum(axis=0))[0] == pytest.approx(one.mean(dtype=np.float64), abs=1e-6)


def test_a_row_without_numbers_has_no_distance() -> None:
    layout = GateLayout.of([("attention", 0, -1.0, 1.0)])
    nan = count_gates(layout, {"attention": np.full((2, 1, 3, 1), np.nan, np.float32)})
    some = count_gates(layout, {"attention": np.full((2, 1, 3, 1), 0.5, np.float32)})
    assert np.array_equal(distances(layout, additive(nan).sum(0), additive(some).sum(0)), np.zeros((2, 1)))
    assert FLAGS["nan"].of(nan).all()


def test_flag_threshold_is_the_beta_binomial_quantile() -> None:
    from scipy.stats import betabinom

    for had, of, window, rate in ((0, 100, 25, 1e-4), (5, 100, 50, 1e-3), (50, 1000, 200, 1e-5)):
        held = flag_threshold(had, of, window, rate)
        spread = betabinom(window, had + 0.5, of - had + 0.5)
        assert spread.sf(held - 1) <= rate < spread.sf(held - 2)


def test_flag_threshold_beyond_the_window_where_all_is_ordinary() -> None:
    assert flag_threshold(99, 100, 25, 1e-4) == 26


def test_windows_of_the_baseline_stay_below() -> None:
    rng = np.random.default_rng(3)
    own = POPULATION[rng.choice(3000, 300, replace=False)]
    held = thresholds(LAYOUT, own, 0, 50, 0.01)
    baseline = additive(own).sum(axis=0)
    beyond = [
        bool((standing(held.centre, held.spread, distances(LAYOUT, drawn, baseline)) >= held.factor).any())
        for drawn in (additive(POPULATION[rng.integers(0, 3000, 50)]).sum(axis=0) for _ in range(400))
    ]
    assert np.mean(beyond) <= 0.02


def test_thresholds_shrink_with_the_window_and_the_baseline() -> None:
    small, large = (thresholds(LAYOUT, POPULATION[:200], 0, window, 0.01) for window in (25, 100))
    assert (small.factor * small.spread > large.factor * large.spread).all()
    more = thresholds(LAYOUT, POPULATION[:2000], 0, 100, 0.01)
    assert (large.factor * large.spread)[1].mean() > (more.factor * more.spread)[1].mean()


def test_rarer_false_alarms_need_higher_thresholds() -> None:
    often, seldom = (thresholds(LAYOUT, POPULATION[:200], 0, 25, rate).factor for rate in (0.05, 0.005))
    assert often < seldom


def test_silent_videos_of_the_baseline_are_allowed_in_a_window() -> None:
    held = thresholds(LAYOUT, POPULATION[:1000], 0, 50, 0.01)
    share = FLAGS["collapse"].of(POPULATION[:1000]).mean(axis=0)
    assert (held.flags["collapse"] > 50 * share + 1).all()
    assert (held.flags["collapse"] < 25).all()


def test_one_video_that_is_no_number_is_too_many() -> None:
    assert (thresholds(LAYOUT, POPULATION[:200], 0, 25, 0.01).flags["nan"] == 1).all()


def test_the_same_arguments_give_the_same_thresholds_and_survive_writing() -> None:
    one, other = (thresholds(LAYOUT, POPULATION[:150], 2, 25, 0.01) for _ in range(2))
    back = Thresholds.from_plain(other.to_plain(), len(LAYOUT))
    assert one.factor == back.factor and math.isfinite(one.factor)
    assert np.array_equal(one.centre, back.centre) and np.array_equal(one.spread, back.spread)
    assert all(np.array_equal(one.flags[kind], back.flags[kind]) for kind in one.flags)


def test_thresholds_of_other_rows_are_refused() -> None:
    plain = thresholds(LAYOUT, POPULATION[:150], 0, 25, 0.01).to_plain()
    with pytest.raises(ValueError, match="expected"):
        Thresholds.from_plain(plain, 3)


def test_videos_that_are_all_alike_leave_room_for_themselves() -> None:
    alike = POPULATION[np.zeros(200, np.int64)]
    held = thresholds(LAYOUT, alike, 0, 25, 0.01)
    assert held.factor > 3
    found = distances(LAYOUT, additive(alike[:25]).sum(axis=0), additive(alike).sum(axis=0))
    assert (standing(held.centre, held.spread, found) < held.factor).all()
