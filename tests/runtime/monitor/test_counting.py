"""Counts of gates: equal to counting by hand, exact under any split, also from in-graph summaries."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from gatescope.export.families.summary import summary_of_gates
from gatescope.runtime.errors import GatescopeError
from gatescope.runtime.monitor.counting.layout import COUNTED_BINS, GateLayout
from gatescope.runtime.monitor.counting.totals import GateTotals
from gatescope.runtime.monitor.counting.videos import VideoCounts, count_gates, count_summaries

LAYOUT = GateLayout.of([("a", 0, -1.0, 1.0), ("a", 1, 0.0, 1.0), ("b", 0, -0.3, 0.7), ("b", 1, -1.0, 1.0)])
RANGES = [(-1.0, 1.0), (0.0, 1.0), (-0.3, 0.7), (-1.0, 1.0)]


def gates(n: int = 6, clips: int = 40, channels: int = 1, seed: int = 0, broken: bool = True) -> dict:
    """Gates of all four rows, some beyond their range, some at its very ends, some NaN."""
    rng = np.random.default_rng(seed)
    shape = (n, 4, clips, channels)
    made = np.tanh(rng.normal(0, 1.5, shape))
    made[:, 1] = rng.uniform(-0.1, 1.1, shape[:1] + shape[2:])
    made[:, 2] = rng.normal(0.2, 0.3, shape[:1] + shape[2:])
    for row, (low, high) in enumerate(RANGES):
        ends = np.array([low, high, 0, 0.05])[: clips * channels]
        made[0, row].reshape(-1)[: len(ends)] = ends
    if broken:
        made[0, 0, -1, 0], made[1, 1, -1, 0] = np.nan, np.inf
    made = made.astype(np.float32)
    return {"a": made[:, :2], "b": made[:, 2:]}


@pytest.mark.parametrize(("clips", "channels"), [(40, 1), (1, 1), (7, 16), (1, 300), (300, 1)])
@pytest.mark.parametrize("broken", [False, True])
def test_every_number_is_what_counting_by_hand_gives(clips, channels, broken) -> None:
    given = gates(clips=clips, channels=channels, broken=broken)
    counts = count_gates(LAYOUT, given)
    rows = np.concatenate([given["a"], given["b"]], axis=1)
    for video in range(len(rows)):
        for row, (low, high) in enumerate(RANGES):
            values = rows[video, row].astype(np.float64)
            finite = values[np.isfinite(values)]
            # The ends of a range are compared in the gates' own precision.
            low32, high32 = float(np.float32(low)), float(np.float32(high))
            inside = finite[(finite >= min(low, low32)) & (finite <= max(high, high32))]
            by_hand = np.histogram(inside.clip(low, high), np.linspace(low, high, COUNTED_BINS + 1))[0]
            np.testing.assert_array_equal(counts.places[video, row, 1:-1], by_hand)
            assert counts.places[video, row, 0] + counts.places[video, row, -1] == finite.size - inside.size
            assert counts.counter("near_zero")[video, row] == (np.abs(finite) < 0.05).sum()
            assert counts.counter("nan")[video, row] == np.isnan(values).sum()
            assert counts.counter("infinite")[video, row] == np.isinf(values).sum()
            assert counts.count[video, row] == finite.size
            if low == -1:
                assert counts.counter("saturated")[video, row] == (np.abs(finite) >= 0.95).sum()
                assert counts.counter("at_high")[video, row] == (finite >= 1).sum()
                assert counts.counter("at_low")[video, row] == (finite <= -1).sum()
            mean = finite.mean() if finite.size else 0.0
            np.testing.assert_allclose(counts.sum_of("sum")[video, row], finite.sum(), rtol=2e-6, atol=2e-6)
            np.testing.assert_allclose(counts.sum_of("absolute")[video, row], np.abs(finite).sum(), rtol=2e-6)
            squares = ((finite - mean) ** 2).sum()
            np.testing.assert_allclose(counts.sum_of("squares")[video, row], squares, rtol=1e-5, atol=1e-6)
            steps = np.abs(np.diff(np.where(np.isfinite(values), values, 0).sum(-1))).sum()
            np.testing.assert_allclose(counts.sum_of("variation")[video, row], steps, rtol=1e-5, atol=1e-6)


def test_a_video_as_a_whole_is_constant_or_collapsed() -> None:
    made = np.full((3, 2, 10, 1), 0.4, np.float32)
    made[1, :, 3] = 0.41
    made[2] = np.linspace(-0.04, 0.04, 10).reshape(1, 10, 1)
    counts = count_gates(LAYOUT, {"a": made, "b": made})
    assert counts.counter("constant")[:, 0].tolist() == [1, 0, 0]
    assert counts.counter("collapsed")[:, 0].tolist() == [0, 0, 1]
    single = count_gates(LAYOUT, {"a": made[:, :, :1], "b": made[:, :, :1]})
    assert not single.counter("constant").any()


def test_any_split_and_order_merges_to_the_same_integers() -> None:
    counts = count_gates(LAYOUT, gates(n=40))
    whole = GateTotals(LAYOUT)
    whole.update(counts)
    rng = np.random.default_rng(1)
    for _ in range(200):
        order = rng.permutation(len(counts))
        cuts = np.sort(rng.choice(len(counts), rng.integers(1, 12), replace=False))
        merged = GateTotals(LAYOUT)
        for piece in np.split(order, cuts):
            part = GateTotals(LAYOUT)
            part.update(counts[piece])
            merged.merge(part)
        assert merged.videos == 40
        np.testing.assert_array_equal(merged.integers, whole.integers)
        np.testing.assert_array_equal(merged.count, whole.count)
        np.testing.assert_allclose(merged.squares, whole.squares, rtol=1e-12)
        np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12, atol=1e-15)


def test_totals_are_those_of_all_values_at_once() -> None:
    given = gates(n=9, broken=False)
    totals = GateTotals(LAYOUT)
    totals.update(count_gates(LAYOUT, given))
    for row, values in enumerate(np.concatenate([given["a"], given["b"]], axis=1).swapaxes(0, 1)):
        wide = values.astype(np.float64).ravel()
        np.testing.assert_allclose(totals.mean[row], wide.mean(), rtol=1e-6)
        np.testing.assert_allclose(totals.squares[row], ((wide - wide.mean()) ** 2).sum(), rtol=1e-5)
        np.testing.assert_allclose(totals.positive[row], wide[wide > 0].sum(), rtol=1e-6)
        np.testing.assert_allclose(totals.negative[row], wide[wide < 0].sum(), rtol=1e-6, atol=1e-9)


def test_a_graphs_own_summaries_count_the_same() -> None:
    rng = np.random.default_rng(2)
    rows = np.stack([rng.uniform(low, high, 300) for low, high in RANGES]).astype(np.float32)
    exact = count_gates(LAYOUT, {"a": rows[None, :2, :, None], "b": rows[None, 2:, :, None]})
    ranges = torch.tensor(RANGES, dtype=torch.float32)
    fields = summary_of_gates(
        torch.from_numpy(rows)[None, :, :, None], torch.ones(1, 300), ranges, per_clip=True
    )
    fields = fields.numpy()
    counts = count_summaries(LAYOUT, {"a": fields[:, :2], "b": fields[:, 2:]})
    np.testing.assert_array_equal(counts.count, exact.count)
    assert np.abs(counts.places - exact.places).sum() <= 4  # float32 at a bin's edge
    for name in ("sum", "absolute", "squares"):
        np.testing.assert_allclose(counts.sum_of(name), exact.sum_of(name), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(counts.counter("rails"), exact.counter("rails"))
    broken = count_summaries(LAYOUT, {"a": fields[:, :2] * np.nan, "b": fields[:, 2:]})
    assert broken.counter("nan")[0].tolist()[2:] == [0, 0]
    assert (broken.counter("nan")[0, :2] >= 1).all()
    assert broken.count[0].tolist() == [0, 0, 300, 300]


def test_totals_survive_json() -> None:
    totals = GateTotals(LAYOUT)
    totals.update(count_gates(LAYOUT, gates()))
    again = GateTotals.from_plain(json.loads(json.dumps(totals.to_plain(), allow_nan=False)), LAYOUT)
    for name in ("integers", "count", "mean", "squares", "positive", "negative"):
        np.testing.assert_array_equal(getattr(again, name), getattr(totals, name))
    for damage in ({"integers": [[1]]}, {"videos": None}, {"mean": "much"}):
        with pytest.raises(ValueError):
            GateTotals.from_plain(totals.to_plain() | damage, LAYOUT)
    with pytest.raises(ValueError):
        GateTotals.from_plain({}, LAYOUT)


def test_counts_of_other_gates_are_refused() -> None:
    other = GateTotals(GateLayout.of([("a", 0, -1.0, 1.0)]))
    with pytest.raises(GatescopeError, match="different gates"):
        GateTotals(LAYOUT).merge(other)
    with pytest.raises(ValueError, match="expected"):
        count_gates(
            LAYOUT, {"a": np.zeros((1, 3, 5, 1), np.float32), "b": np.zeros((1, 2, 5, 1), np.float32)}
        )


def test_no_video_and_joined_videos() -> None:
    counts = count_gates(LAYOUT, gates())
    joined = VideoCounts.joined([counts[:2], VideoCounts.empty(LAYOUT), counts[2:]])
    np.testing.assert_array_equal(joined.integers, counts.integers)
    GateTotals(LAYOUT).update(VideoCounts.empty(LAYOUT))
