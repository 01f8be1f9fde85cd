"""Accumulators against numpy on the whole array, in any split and any order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from gatescope.analysis.statistics.quantiles import (
    BinCounts,
    RankCounts,
    percentiles_of,
    streamed_percentiles,
)
from gatescope.runtime.statistics.histogram import Histogram
from gatescope.runtime.statistics.limits import GateLimits
from gatescope.runtime.statistics.moments import Moments

WANTED = (0.0, 25.0, 50.0, 75.0, 95.0, 99.9, 100.0)
TANH = GateLimits.of(-1.0, 1.0)

floats = st.floats(width=32, allow_nan=True, allow_infinity=True)
gates = st.one_of(st.floats(-1, 1, width=32), st.sampled_from([-1.0, -0.0, 0.0, 0.25, 1.0]))
streams = arrays.arrays(np.float32, st.integers(1, 200), elements=gates)


def pieces(values: NDArray[np.float32], cuts: list[int], seed: int) -> list[NDArray[np.float32]]:
    """``values`` cut at ``cuts`` (modulo its length), the pieces in a random order."""
    found = np.split(values, sorted(cut % (values.size + 1) for cut in cuts))
    np.random.default_rng(seed).shuffle(found)  # type: ignore[arg-type]
    return found


def moments_of(values: NDArray[np.float32], limits: GateLimits = TANH) -> Moments:
    moments = Moments(limits)
    moments.update(values)
    return moments


def stream_percentiles(parts: list[NDArray[np.float32]]) -> tuple[float, ...]:
    """Both passes with one accumulator a part, merged."""
    first = BinCounts()
    for part in parts:
        own = BinCounts()
        own.update(part)
        first.merge(own)
    bins = first.bins_for(WANTED)
    second = RankCounts(bins)
    for part in reversed(parts):
        own_ranks = RankCounts(bins)
        own_ranks.update(part)
        second.merge(own_ranks)
    return streamed_percentiles(first, second, WANTED)


@given(streams, st.lists(st.integers(0, 300), max_size=6), st.integers(0, 9))
@settings(max_examples=150)
def test_moments_do_not_depend_on_the_split(values: NDArray[np.float32], cuts: list[int], seed: int) -> None:
    merged = Moments(TANH)
    for part in pieces(values, cuts, seed):
        merged.merge(moments_of(part))
    found, whole = merged.finalise(), values.astype(np.float64)
    assert found.count == values.size
    assert (found.min, found.max) == (whole.min(), whole.max())
    assert found.share_positive == np.mean(whole > 0)
    assert found.share_near_zero == np.mean(np.abs(whole) < 0.05)
    assert found.share_saturated == np.mean(np.abs(whole) >= 0.95)
    assert found.share_rails == np.mean(np.abs(whole) >= 0.999)
    assert found.mean == pytest.approx(whole.mean(), rel=1e-12, abs=1e-15)
    assert found.mean_abs == pytest.approx(np.abs(whole).mean(), rel=1e-12)
    assert merged.squares == pytest.approx(((whole - whole.mean()) ** 2).sum(), rel=1e-12, abs=1e-15)


@given(
    arrays.arrays(np.float32, st.integers(1, 120), elements=floats), st.lists(st.integers(0, 200), max_size=5)
)
@settings(max_examples=200)
def test_percentiles_equal_numpy_in_any_split(values: NDArray[np.float32], cuts: list[int]) -> None:
    finite = values[np.isfinite(values)].astype(np.float64)
    found = stream_percentiles(pieces(values, cuts, 0))
    if finite.size == 0:
        assert all(math.isnan(value) for value in found)
    else:
        assert list(found) == list(np.percentile(finite, WANTED))
        assert list(percentiles_of(values[np.isfinite(values)], WANTED)) == list(
            np.percentile(finite, WANTED)
        )


@pytest.mark.parametrize("size", [1, 2, 3, 75, 9_999, 50_000])
@pytest.mark.parametrize("spread", [0.0, 1e-6, 0.3, 4.0])
def test_percentiles_of_tanh_gates(size: int, spread: float) -> None:
    values = np.tanh(np.random.default_rng(size).normal(0.2, spread, size)).astype(np.float32)
    assert list(stream_percentiles([values])) == list(np.percentile(values.astype(np.float64), WANTED))
    assert list(percentiles_of(values, WANTED)) == list(np.percentile(values.astype(np.float64), WANTED))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("whole range of float32", -3.4e38, 3.4e38), ("subnormal", 0, 1e-44), ("neighbours", 1.0, 1.0000002)],
)
def test_percentiles_of_many_values_of_any_size(name: str, low: float, high: float) -> None:
    values = np.random.default_rng(4).uniform(low, high, 9_001).astype(np.float32)
    with np.errstate(over="ignore"):
        assert list(percentiles_of(values, WANTED)) == list(np.percentile(values.astype(np.float64), WANTED))


def test_merged_counts_are_the_same_integers() -> None:
    values = np.tanh(np.random.default_rng(3).normal(size=30_000)).astype(np.float32)
    whole, halves = BinCounts(), [BinCounts(), BinCounts()]
    whole.update(values)
    for half, part in zip(halves, np.split(values, [11]), strict=True):
        half.update(part)
    halves[0].merge(halves[1])
    assert np.array_equal(whole.counts, halves[0].counts)


def test_a_wider_second_pass_serves_a_narrower_one() -> None:
    values = np.linspace(-1, 1, 501, dtype=np.float32)
    wide, narrow, first = RankCounts(range(0x3E00, 0x3F90)), RankCounts([0x3F00]), BinCounts()
    wide.update(values)
    first.update(values)
    narrow.merge(wide)
    assert narrow.counts.sum() == first.counts[0x3F00] > 0


def test_values_that_are_not_finite_are_counted_apart() -> None:
    moments = moments_of(np.array([[0.5, np.nan, np.inf], [-np.inf, np.nan, 1.0]], np.float32))
    found = moments.finalise()
    assert (found.count, found.nan_count, found.inf_count) == (2, 2, 2)
    assert (found.mean, found.min, found.max) == (0.75, 0.5, 1.0)


def test_nothing_has_no_statistics() -> None:
    found = moments_of(np.array([np.nan], np.float32)).finalise()
    assert (found.count, found.nan_count) == (0, 1)
    assert all(math.isnan(value) for value in (found.mean, found.std, found.min, found.share_rails))
    assert all(math.isnan(value) for value in percentiles_of(np.empty(0, np.float32), WANTED))


@pytest.mark.parametrize(
    ("name", "range_", "values", "saturated", "rails"),
    [
        ("tanh", (-1, 1), [-1, -0.9995, -0.96, -0.9, 0.04, 0.96, 1], 5, 3),
        ("sigmoid", (0, 1), [0, 0.0005, 0.04, 0.06, 0.94, 0.96, 1], 5, 3),
        ("scaled sigmoid", (0, 0.5), [0, 0.02, 0.03, 0.46, 0.48, 0.4995], 4, 2),
        ("wide tanh", (-3, 3), [-2.9, -0.99, 0.99, 2.84, 2.86, 3], 3, 1),
        ("negative scale", (-0.5, 0), [-0.5, -0.48, -0.3, -0.01, 0], 4, 2),
        ("scale of zero", (0, 0), [0, 0], 2, 2),
    ],
)
def test_saturated_and_rails_follow_the_range(
    name: str, range_: tuple[float, float], values: list[float], saturated: int, rails: int
) -> None:
    moments = moments_of(np.array(values, np.float32), GateLimits.of(*range_))
    assert (name, moments.saturated, moments.rails) == (name, saturated, rails)


@pytest.mark.parametrize("range_", [(-1.0, 1.0), (0.0, 1.0), (0.0, 0.7), (-2.5, 2.5)])
def test_histogram_equals_numpy(range_: tuple[float, float]) -> None:
    values = np.random.default_rng(5).uniform(range_[0] - 0.5, range_[1] + 0.5, 40_000).astype(np.float32)
    merged = Histogram(*range_)
    for part in np.array_split(values, 7):
        own = Histogram(*range_)
        own.update(part)
        merged.merge(own)
    expected, edges = np.histogram(values.astype(np.float64), bins=64, range=range_)
    assert np.array_equal(merged.counts, expected)
    assert np.array_equal(merged.edges, edges)
    assert merged.under == np.count_nonzero(values < range_[0])
    assert merged.over == np.count_nonzero(values > range_[1])


def test_histogram_of_an_empty_range_still_counts() -> None:
    histogram = Histogram(0.0, 0.0)
    histogram.update(np.array([0.0, 0.0, np.nan], np.float32))
    assert histogram.counts.sum() == 2


def test_histograms_of_different_ranges_do_not_merge() -> None:
    with pytest.raises(ValueError, match="different ranges"):
        Histogram(0, 1).merge(Histogram(-1, 1))
