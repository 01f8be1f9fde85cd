"""Counts of gates: equal to counting by hand, exact under any split, also from in-graph summaries."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from gatescope.export.model.summary import summarise
from gatescope.runtime.errors import GatescopeError
from gatescope.runtime.monitor.counts import BINS, GateCounts, KindLimits
from gatescope.runtime.statistics.limits import GateLimits

LIMITS = KindLimits.of([GateLimits.of(-1, 1), GateLimits.of(0, 1), GateLimits.of(-0.3, 0.7)])


def values(n: int = 4000, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made = np.stack([np.tanh(rng.normal(0, 1.5, n)), rng.uniform(-0.1, 1.1, n), rng.normal(0, 0.3, n)])
    made[:, :4] = np.array([-1, 1, 0, 0.05])
    made[0, 10] = np.nan
    made[1, 11] = np.inf
    return made.astype(np.float32)


def counted(given: np.ndarray) -> GateCounts:
    counts = GateCounts(LIMITS)
    counts.update(given)
    return counts


def test_every_number_is_what_counting_by_hand_gives() -> None:
    given = values()
    counts = counted(given)
    for layer, row in enumerate(given.astype(np.float64)):
        finite = row[np.isfinite(row)]
        low, high = LIMITS.low[layer], LIMITS.high[layer]
        edges = np.linspace(low, high, BINS + 1)
        by_hand = np.histogram(finite[(finite >= low) & (finite <= high)], edges)[0]
        np.testing.assert_array_equal(counts.places[layer, 1:-1], by_hand)
        assert counts.places[layer, 0] == (finite < low).sum()
        assert counts.places[layer, -1] == (finite > high).sum()
        assert counts.counter("near_zero")[layer] == (np.abs(finite) < 0.05).sum()
        assert counts.counter("at_high")[layer] == (finite >= high).sum()
        assert counts.count[layer] == finite.size
        np.testing.assert_allclose(counts.mean[layer], finite.mean(), atol=1e-12)
        np.testing.assert_allclose(counts.squares[layer], ((finite - finite.mean()) ** 2).sum(), rtol=1e-12)
        np.testing.assert_allclose(counts.positive[layer], finite[finite > 0].sum())
        np.testing.assert_allclose(counts.negative[layer], finite[finite < 0].sum())
        assert (counts.lowest[layer], counts.highest[layer]) == (finite.min(), finite.max())
    assert counts.counter("nan").tolist() == [1, 0, 0]
    assert counts.counter("infinite").tolist() == [0, 1, 0]


def test_any_split_and_order_merges_to_the_same_integers() -> None:
    given = values()
    whole = counted(given)
    rng = np.random.default_rng(1)
    for _ in range(200):
        cuts = np.sort(rng.choice(given.shape[1], rng.integers(1, 12), replace=False))
        pieces = [counted(piece) for piece in np.split(given, cuts, axis=1)]
        merged = GateCounts(LIMITS)
        for i in rng.permutation(len(pieces)):
            merged.merge(pieces[i])
        np.testing.assert_array_equal(merged.places, whole.places)
        np.testing.assert_array_equal(merged.counters, whole.counters)
        np.testing.assert_array_equal(merged.count, whole.count)
        np.testing.assert_allclose(merged.squares, whole.squares, rtol=1e-12)
        np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12, atol=1e-15)


def test_a_graphs_own_summaries_count_the_same() -> None:
    rng = np.random.default_rng(2)
    gates = np.stack([np.tanh(rng.normal(0, 2, 300)), rng.uniform(0, 1, 300), rng.uniform(-0.3, 0.7, 300)])
    gates = gates.astype(np.float32)
    ranges = torch.tensor(np.stack([LIMITS.low, LIMITS.high], 1), dtype=torch.float32)
    mask = torch.ones(1, 300)
    fields = summarise(torch.from_numpy(gates)[None, :, :, None], mask, ranges, pooled=False).numpy()[0]
    counts, exact = GateCounts(LIMITS), counted(gates)
    counts.update_summaries(fields)
    np.testing.assert_array_equal(counts.count, exact.count)
    assert np.abs(counts.places - exact.places).sum() <= 2  # float32 at a bin's edge
    np.testing.assert_allclose(counts.mean, exact.mean, atol=1e-6)
    np.testing.assert_allclose(counts.squares, exact.squares, rtol=1e-4)
    np.testing.assert_allclose(counts.positive, exact.positive, rtol=1e-5)
    np.testing.assert_array_equal(counts.counter("rails"), exact.counter("rails"))
    counts.update_summaries(np.full_like(fields, np.nan))
    assert (counts.counter("nan") >= 1).all()
    np.testing.assert_array_equal(counts.count, exact.count)


def test_counts_survive_json() -> None:
    counts = counted(values())
    again = GateCounts.from_plain(json.loads(json.dumps(counts.to_plain(), allow_nan=False)), LIMITS)
    for name in ("places", "counters", "count", "mean", "squares", "positive", "negative", "lowest"):
        np.testing.assert_array_equal(getattr(again, name), getattr(counts, name))
    empty = GateCounts(LIMITS)
    assert GateCounts.from_plain(json.loads(json.dumps(empty.to_plain())), LIMITS).lowest[0] == np.inf
    with pytest.raises(ValueError, match="places has shape"):
        GateCounts.from_plain(counts.to_plain() | {"places": [[1]]}, LIMITS)


def test_counts_of_other_gates_are_refused() -> None:
    other = GateCounts(KindLimits.of([GateLimits.of(-1, 1)]))
    with pytest.raises(GatescopeError, match="different gates"):
        counted(values()).merge(other)
