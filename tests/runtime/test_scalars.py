"""``tracker.scalars()``: a flat dict of floats for a training log, and how little is kept for it."""

from __future__ import annotations

import copy
import math
import warnings
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.runtime import GateSession
from gatescope.runtime.errors import GatescopeError
from gatescope.runtime.statistics.limits import NEAR_ZERO, SATURATED, GateLimits
from gatescope.runtime.tracking.scalars import SCALARS
from gatescope.runtime.tracking.tracker import GateTracker

from .test_tracker import KINDS, Source, batch_of, feed
from .tiny_model import tiny_batch, tiny_model


class Unbounded(Source):
    """Nothing bounds its attention gate."""

    def limits(self, kind: str, layer: int) -> GateLimits | None:
        return None if kind == "attention" else super().limits(kind, layer)


def counting(source: Any = None, *, history: bool = False) -> GateTracker:
    tracker = GateTracker(source or Source())
    tracker.enable_gate_tracking(history=history)
    return tracker


def run(tracker: GateTracker, batch: Any) -> None:
    tracker.record(tracker.claim(batch.size), batch)


def test_names_are_flat_and_in_a_stable_order() -> None:
    tracker = counting()
    run(tracker, batch_of(2))
    found = tracker.scalars()
    assert list(found) == [
        f"gate/{kind}/layer{layer}/{name}" for kind in KINDS for layer in (0, 1) for name in SCALARS
    ]
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize("history", [False, True])
def test_values_are_those_of_all_valid_clips_since_the_last_call(history: bool) -> None:
    tracker = counting(history=history)
    batches = [batch_of(2, (5, 3), seed=seed) for seed in range(3)]
    for number, batch in enumerate(batches):
        if history:
            tracker.set_current_sample_id([f"{number}/a", f"{number}/b"])
        run(tracker, batch)
    found = tracker.scalars()
    for layer in range(2):
        values = np.concatenate(
            [
                one.gates["ffn"][layer][row, :clips].ravel()
                for one in batches
                for row, clips in ((0, 5), (1, 3))
            ]
        ).astype(np.float64)
        size = np.abs(values)
        want = {
            "mean": values.mean(),
            "std": values.std(),
            "mean_abs": size.mean(),
            "share_saturated": (size >= SATURATED).mean(),
            "share_near_zero": (size < NEAR_ZERO).mean(),
            "nan_count": 0,
            "inf_count": 0,
        }
        got = {name: found[f"gate/ffn/layer{layer}/{name}"] for name in SCALARS}
        assert got == pytest.approx(want, abs=1e-12)
    assert tracker.scalars() == {}
    if history:
        tracker.set_current_sample_id("later")
    run(tracker, batches[1])
    alone = counting()
    run(alone, batches[1])
    assert tracker.scalars(reset=False) == pytest.approx(alone.scalars())


def test_without_reset_it_counts_on() -> None:
    tracker, both = counting(), counting()
    run(tracker, batch_of(seed=1))
    first = tracker.scalars(reset=False)
    assert tracker.scalars(reset=False) == first
    run(tracker, batch_of(seed=2))
    for seed in (1, 2):
        run(both, batch_of(seed=seed))
    assert tracker.scalars() == both.scalars()


def test_nan_is_counted_and_the_rest_still_means_something() -> None:
    batch = batch_of(1)
    batch.gates["ffn"][1][0, 0] = math.nan
    batch.gates["ffn"][1][0, 1] = math.inf
    tracker = counting()
    run(tracker, batch)
    found = tracker.scalars()
    assert (found["gate/ffn/layer1/nan_count"], found["gate/ffn/layer1/inf_count"]) == (1.0, 1.0)
    assert found["gate/ffn/layer1/mean"] == pytest.approx(batch.gates["ffn"][1][0, 2:].mean())


def test_nothing_is_saturated_where_no_range_is_known() -> None:
    tracker = counting(Unbounded())
    run(tracker, batch_of())
    names = tracker.scalars()
    assert "gate/attention/layer0/share_saturated" not in names
    assert "gate/ffn/layer0/share_saturated" in names
    assert "gate/attention/layer0/share_near_zero" in names


def test_without_history_no_gate_is_kept_and_no_id_is_asked_for() -> None:
    tracker = counting()
    kept: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch in range(200):
            batch = batch_of(2, seed=epoch)
            kept += [
                weakref.ref(batch),
                *map(weakref.ref, (array for own in batch.gates.values() for array in own)),
            ]
            run(tracker, batch)
            del batch
            tracker.scalars()
    assert [one for one in kept if one() is not None] == []
    assert len(tracker.gate_history) == 0
    with pytest.raises(GatescopeError) as raised:
        tracker.as_run()
    assert "without history=False" in str(raised.value)


def test_a_list_of_ids_of_another_length_does_not_matter_where_none_is_kept() -> None:
    tracker = counting()
    tracker.set_current_sample_id(["a", "b", "c"])
    run(tracker, batch_of(2))
    assert tracker.scalars()


def test_switching_on_again_begins_anew_and_a_copy_counts_for_itself() -> None:
    tracker = counting()
    run(tracker, batch_of())
    twin = copy.deepcopy(tracker)
    assert twin.scalars() == {}
    assert tracker.scalars(reset=False)
    tracker.enable_gate_tracking(history=False)
    assert tracker.scalars() == {}
    feed(tracker, "a", batch_of())
    tracker.disable_gate_tracking()
    assert tracker.scalars()


def test_of_a_session(tmp_path: Path) -> None:
    manifest = tiny_model(tmp_path / "m.onnx")
    with GateSession(tmp_path / "m.onnx", device="cpu", threads=1) as session:
        session.tracker.enable_gate_tracking(history=False)
        out = session.run(tiny_batch(manifest, (5, 3)))
        found = session.tracker.scalars()
    valid = np.concatenate([out.gates["ffn"][0, 0, :5].ravel(), out.gates["ffn"][1, 0, :3].ravel()])
    assert found["gate/ffn/layer0/mean"] == pytest.approx(valid.mean(), abs=1e-6)
    assert "gate/ffn/layer0/share_saturated" in found


def test_ids_that_come_again_every_epoch_do_not_fill_the_disk(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tracker = GateTracker(Source(), budget=8_000)
    tracker.enable_gate_tracking()
    most = 0
    for epoch in range(20):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that they replace each other is what is asked for
            for sample in range(12):
                feed(tracker, sample, replace(batch_of(seed=epoch), length=5))
        files = list(tmp_path.rglob("*.f32"))
        most = max(most, len(files))
        assert len(tracker.gate_history) == 12
        assert all(tracker.gate_history[sample]["ffn_gates"] for sample in range(12))
    assert 0 < most <= 12
