"""The tracker: ids, what is remembered, how much of it in memory, and what becomes of it."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.analysis import GateAnalyzer
from gatescope.runtime import GateSession, open_run
from gatescope.runtime.errors import GatescopeError, InputError, RunFolderError, UsageError
from gatescope.runtime.runs.info import FileRef
from gatescope.runtime.statistics.limits import GateLimits, limits_of
from gatescope.runtime.tracking.batch import TrackedBatch
from gatescope.runtime.tracking.ids import distinct_texts, file_name, file_names
from gatescope.runtime.tracking.source import ModelIdentity, run_of
from gatescope.runtime.tracking.tracker import GateTracker, GateTrackingWarning

from ..undrawn import undrawn
from .tiny_model import CHANNELS, Gating, expected, tiny_batch, tiny_manifest, tiny_model

KINDS = ("attention", "ffn")


class Source:
    """A model that is nothing but its manifest."""

    def __init__(self, gating: Gating = "clipwise", layers: int = 2) -> None:
        self.manifest = tiny_manifest(gating, layers)

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def limits(self, kind: str, layer: int) -> GateLimits:
        return limits_of(self.manifest, layer, kind)

    def identity(self) -> ModelIdentity:
        return ModelIdentity(FileRef("toy", "0" * 64), self.manifest, "cpu", {})


def batch_of(
    samples: int = 1, clips: tuple[int, ...] | None = None, *, length: int = 5, layers: int = 2, seed: int = 0
) -> TrackedBatch:
    random = np.random.default_rng(seed)
    gates = {
        kind: tuple(
            np.tanh(random.normal(size=(samples, length, 1))).astype(np.float32) for _ in range(layers)
        )
        for kind in KINDS
    }
    return TrackedBatch(gates, clips or (length,) * samples, length, "clipwise", 4)


def feed(tracker: GateTracker, sample_id: Any, batch: TrackedBatch) -> None:
    tracker.set_current_sample_id(sample_id)
    tracker.record(tracker.claim(batch.size), batch)


@pytest.fixture
def tracker() -> GateTracker:
    made = GateTracker(Source())
    made.enable_gate_tracking()
    return made


@pytest.fixture
def session(tmp_path: Path) -> GateSession:
    tiny_model(tmp_path / "m.onnx")
    return GateSession(tmp_path / "m.onnx", device="cpu", threads=1)


# --- on a session ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("gating", ["global", "clipwise", "elementwise"])
def test_a_session_remembers_what_it_returned(tmp_path: Path, gating: Gating) -> None:
    manifest = tiny_model(tmp_path / "m.onnx", gating, 3)
    session = GateSession(tmp_path / "m.onnx", device="cpu", threads=1)
    batch = tiny_batch(manifest, clips=(5, 3))
    session.run(batch)
    assert not session.tracker.track_gates
    assert len(session.tracker.gate_history) == 0

    session.tracker.enable_gate_tracking()
    session.tracker.set_current_sample_id("pair")
    assert session.tracker.current_sample_id == "pair"
    outputs = session.run(batch)
    entry = session.tracker.gate_history["pair"]
    shape = {"global": (2, 1, 1), "clipwise": (2, 5, 1), "elementwise": (2, 5, CHANNELS)}[gating]
    for kind in KINDS:
        arrays = entry[f"{kind}_gates"]
        assert [array.shape for array in arrays] == [shape] * 3
        assert all(array.dtype == np.float32 for array in arrays)
        for layer, array in enumerate(arrays):
            np.testing.assert_array_equal(array, outputs.gates[kind][:, layer])
    assert [info["layer_idx"] for info in entry["layer_info"]] == [0, 1, 2]
    assert entry["layer_info"][0] | {"hidden_dim": 0} == {
        "layer_idx": 0,
        "gating_type": gating,
        "sequence_length": 5,
        "batch_size": 2,
        "hidden_dim": 0,
    }
    outputs.gates["attention"][:] = 9  # the caller's own from here on
    assert session.tracker.gate_history["pair"]["attention_gates"][0].max() <= 1

    session.tracker.disable_gate_tracking()
    session.run(batch)
    assert list(session.tracker.gate_history) == ["pair"]
    session.tracker.enable_gate_tracking()
    assert len(session.tracker.gate_history) == 0


def test_a_sessions_run_holds_valid_clips_only(session: GateSession, tmp_path: Path) -> None:
    batch = tiny_batch(session.manifest, clips=(5, 3))
    session.tracker.enable_gate_tracking()
    session.tracker.set_current_sample_id("pair")
    session.run(batch)
    session.tracker.set_current_sample_id([7, "x"])
    session.run(batch)
    run = session.tracker.to_run(tmp_path / "run")
    want = expected(session.manifest, batch)
    assert run.finished
    assert run.manifest == session.manifest
    assert open_run(tmp_path / "run").samples.collect()["clips"].to_list() == [5, 3, 5, 3]
    for name, row, clips in (("pair/0", 0, 5), ("pair/1", 1, 3), ("7", 0, 5), ("x", 1, 3)):
        for kind in KINDS:
            np.testing.assert_allclose(
                run.tensor(name, kind), want[f"gate_{kind}"][row, :, :clips], atol=1e-6, err_msg=name
            )


def test_a_file_without_gates_cannot_be_tracked(tmp_path: Path) -> None:
    tiny_model(tmp_path / "m.onnx", outputs_kind="plain")
    session = GateSession(tmp_path / "m.onnx", device="cpu", threads=1)
    with pytest.raises(UsageError, match="no gate outputs"):
        session.tracker.enable_gate_tracking()
    assert not session.tracker.track_gates


def test_a_wrong_list_of_ids_fails_before_the_model_runs(session: GateSession) -> None:
    session.tracker.enable_gate_tracking()
    session.tracker.set_current_sample_id(["a", "b", "c"])
    with pytest.raises(InputError, match="3 ids for a batch of 2"):
        session.run(tiny_batch(session.manifest))
    assert len(session.tracker.gate_history) == 0


def test_a_mask_the_graph_does_not_need_still_says_what_is_padding(tmp_path: Path) -> None:
    manifest = tiny_model(tmp_path / "m.onnx", outputs_kind="gates")
    session = GateSession(tmp_path / "m.onnx", device="cpu", threads=1)
    assert "src_vid_mask" not in session.input_names
    session.tracker.enable_gate_tracking()
    batch = tiny_batch(manifest, clips=(5, 3))
    session.tracker.set_current_sample_id("a")
    session.run(batch)
    assert session.tracker.as_run().samples.collect()["clips"].to_list() == [5, 3]
    with pytest.raises(InputError, match="src_vid_mask"):
        session.run(batch | {"src_vid_mask": np.ones((2, 4))})


def test_threads_keep_their_own_ids(session: GateSession) -> None:
    session.tracker.enable_gate_tracking()
    batches = {number: tiny_batch(session.manifest, seed=number) for number in range(40)}

    def one(number: int) -> None:
        session.tracker.set_current_sample_id(number)
        session.run(batches[number])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, batches))
    assert set(session.tracker.gate_history) == set(batches)
    tracked = dict(session.tracker.gate_history)
    session.tracker.disable_gate_tracking()
    for number, batch in batches.items():
        want = session.run(batch).gates["ffn"][:, 1]
        np.testing.assert_array_equal(tracked[number]["ffn_gates"][1], want)


def test_an_id_set_in_one_thread_holds_where_none_was_set(session: GateSession) -> None:
    session.tracker.enable_gate_tracking()
    session.tracker.set_current_sample_id("mine")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(session.run, tiny_batch(session.manifest)).result()
    assert list(session.tracker.gate_history) == ["mine"]


# --- ids ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample_id", ["a", 7, 2.5, ("video", 3), frozenset({1}), True, b"x"])
def test_any_hashable_is_an_id(tracker: GateTracker, sample_id: Hashable) -> None:
    feed(tracker, sample_id, batch_of(2))
    assert tracker.current_sample_id == sample_id
    assert list(tracker.gate_history) == [sample_id]
    assert tracker.gate_history[sample_id]["attention_gates"][0].shape == (2, 5, 1)


@pytest.mark.parametrize("given", [["a", "b"], np.array(["a", "b"])])
def test_a_list_gives_each_sample_its_own_id_without_padding(tracker: GateTracker, given: Any) -> None:
    batch = batch_of(2, (5, 3))
    feed(tracker, given, batch)
    assert list(tracker.gate_history) == ["a", "b"]
    second = tracker.gate_history["b"]
    np.testing.assert_array_equal(second["ffn_gates"][1], batch.gates["ffn"][1][1:, :3])
    assert second["layer_info"][0]["sequence_length"] == 3
    assert second["layer_info"][0]["batch_size"] == 1


def test_a_number_in_an_array_is_a_number(tracker: GateTracker) -> None:
    feed(tracker, np.int64(12), batch_of())
    assert 12 in tracker.gate_history


@pytest.mark.parametrize("given", [{"qid": 1}, [["a"], "b"], {1, 2}])
def test_what_cannot_be_an_id(tracker: GateTracker, given: Any) -> None:
    with pytest.raises(InputError, match="cannot be a sample id"):
        tracker.set_current_sample_id(given)


def test_a_list_with_one_id_twice(tracker: GateTracker) -> None:
    with pytest.raises(InputError, match="more than once"):
        tracker.set_current_sample_id(["a", "b", "a"])


def test_a_list_of_the_wrong_length(tracker: GateTracker) -> None:
    tracker.set_current_sample_id(["a", "b"])
    with pytest.raises(InputError, match="2 ids for a batch of 3"):
        tracker.claim(3)


def test_a_repeated_id_replaces_with_a_warning(tracker: GateTracker) -> None:
    feed(tracker, "a", batch_of(seed=1))
    feed(tracker, "b", batch_of(seed=2))
    later = batch_of(seed=3)
    with pytest.warns(GateTrackingWarning, match="'a' replace"):
        feed(tracker, "a", later)
    assert list(tracker.gate_history) == ["b", "a"]
    np.testing.assert_array_equal(tracker.gate_history["a"]["ffn_gates"][0], later.gates["ffn"][0])


def test_without_an_id_batches_are_numbered_and_one_warning_says_so() -> None:
    tracker = GateTracker(Source())
    tracker.enable_gate_tracking()
    with pytest.warns(GateTrackingWarning, match="no sample id") as caught:
        for seed in range(3):
            tracker.record(tracker.claim(1), batch_of(seed=seed))
    assert len(caught) == 1
    assert list(tracker.gate_history) == ["unnamed_0", "unnamed_1", "unnamed_2"]


def test_texts_of_ids_are_distinct() -> None:
    texts = distinct_texts([(1, 1), ("1", 1), ("v", 2), ("v/0", 1), ("1 (str)", 1), (1.0, 1), ("\ud800", 1)])
    flat = [text for own in texts for text in own]
    assert flat == ["1", "1 (str)", "v/0", "v/1", "v/0 (str)", "1 (str) (str)", "1.0", "\\ud800"]


def test_file_names_are_safe_and_distinct() -> None:
    ids = [
        "sample_001",
        "a/b",
        "a_b",
        "../a",
        "..",
        ".",
        "",
        "x" * 300,
        "x" * 301,
        "a\0b",
        "ü",
        "a~b",
        "all",
        "A",
    ]
    names = [file_name(one, reserved=("all",)) for one in ids]
    assert names[0] == "sample_001"
    assert len(set(names)) == len(ids)
    assert all(Path(name).name == name and len(name) < 120 and not name.startswith(".") for name in names)
    assert "all" not in names
    together = file_names(["Case", "case", "plain", "a/b", "A/B", "İ"])
    assert together["plain"] == "plain"
    assert len({name.casefold() for name in together.values()}) == len(together)


# --- statistics -----------------------------------------------------------------------------------------


def test_statistics_have_the_promised_keys_and_leave_padding_out(tracker: GateTracker) -> None:
    batch = batch_of(2, (5, 2))
    feed(tracker, "a", batch)
    feed(tracker, 3, batch_of(seed=4))
    assert list(tracker.get_gate_statistics()) == ["a", 3]
    found = tracker.get_gate_statistics("a")["a"]
    assert set(found) == {"attention_stats", "ffn_stats", "layer_info"}
    for kind in KINDS:
        for layer in range(2):
            array = batch.gates[kind][layer].astype(np.float64)
            values = np.concatenate([array[0].ravel(), array[1, :2].ravel()])
            got = found[f"{kind}_stats"][layer]
            assert got == {
                "mean": pytest.approx(values.mean()),
                "std": pytest.approx(values.std()),
                "min": values.min(),
                "max": values.max(),
                "shape": [2, 5, 1],
            }
    compared = tracker.compare_samples_gates(["a", 3])
    assert compared["a"]["att_means"] == [one["mean"] for one in found["attention_stats"]]
    assert list(compared[3]) == ["att_means", "ffn_means"]


def test_an_unknown_id_names_those_there_are(tracker: GateTracker) -> None:
    feed(tracker, "a", batch_of())
    for ask in (tracker.get_gate_statistics, lambda one: tracker.compare_samples_gates(["a", one])):
        with pytest.raises(GatescopeError, match="'zebra'") as caught:
            ask("zebra")
        assert "'a'" in str(caught.value)
    with pytest.raises(KeyError):
        tracker.gate_history["zebra"]


def test_the_summary_is_printed(tracker: GateTracker, capsys: pytest.CaptureFixture[str]) -> None:
    tracker.print_gate_summary()
    assert "0 sample ids" in capsys.readouterr().out
    batch = batch_of()
    feed(tracker, "a", batch)
    tracker.print_gate_summary()
    shown = capsys.readouterr().out
    assert "tracking is on; 1 sample id tracked" in shown
    assert f"{batch.gates['ffn'][1].mean():.4f}" in shown


def test_saved_files(tracker: GateTracker, tmp_path: Path) -> None:
    feed(tracker, "a/b", batch_of())
    feed(tracker, "all", batch_of(seed=1))
    everything = tracker.save_gate_analysis(tmp_path / "all")
    assert [path.name for path in everything] == ["gate_statistics_all.json", "gate_analysis_all.png"]
    assert list(json.loads(everything[0].read_text(encoding="utf-8"))) == ["a/b", "all"]
    for sample_id in ("a/b", "all"):
        files = tracker.save_gate_analysis(tmp_path / "one", sample_id)
        assert all(path.parent == tmp_path / "one" and path.exists() for path in files)
        found = json.loads(files[0].read_text(encoding="utf-8"))
        assert found[sample_id]["ffn_stats"][0]["shape"] == [1, 5, 1]
        assert files[1].read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "one").iterdir())) == 4
    tracker.compare_samples_gates(["a/b", "all"], tmp_path / "compared")
    assert (tmp_path / "compared" / "gate_comparison.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_tracked_is_said(tracker: GateTracker, tmp_path: Path) -> None:
    for ask in (
        tracker.as_run,
        lambda: tracker.to_run(tmp_path / "run"),
        lambda: tracker.save_gate_analysis(tmp_path),
    ):
        with pytest.raises(GatescopeError, match="no gates were tracked"):
            ask()
    assert list(tmp_path.iterdir()) == []


# --- memory ---------------------------------------------------------------------------------------------


def test_memory_stays_within_the_budget_and_everything_can_be_read() -> None:
    tracker = GateTracker(Source(), budget=40_000)
    tracker.enable_gate_tracking()
    batches = {number: batch_of(3, (9, 4, 6), length=9, seed=number) for number in range(200)}
    highest = 0
    for number, batch in batches.items():
        feed(tracker, number, batch)
        highest = max(highest, tracker.gate_history.memory)
    assert sum(batch.bytes for batch in batches.values()) > 10 * 40_000
    assert highest <= 40_000
    assert list(tracker.gate_history) == list(batches)
    for number, batch in batches.items():
        entry = tracker.gate_history[number]
        for kind in KINDS:
            for layer in range(2):
                np.testing.assert_array_equal(entry[f"{kind}_gates"][layer], batch.gates[kind][layer])
    run = tracker.as_run()
    for name, number, row, clips in (("0/1", 0, 1, 4), ("199/2", 199, 2, 6)):
        np.testing.assert_array_equal(
            run.tensor(name, "ffn")[1], batches[number].gates["ffn"][1][row, :clips]
        )
    replacement = batch_of(seed=999)
    with pytest.warns(GateTrackingWarning, match="replace"):
        feed(tracker, 0, replacement)  # long since on disk
    assert len(tracker.gate_history) == 200
    np.testing.assert_array_equal(tracker.gate_history[0]["ffn_gates"][0], replacement.gates["ffn"][0])


def test_what_was_spilled_vanishes_with_the_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tracker = GateTracker(Source(), budget=1)
    tracker.enable_gate_tracking()
    feed(tracker, "a", batch_of())
    assert tracker.gate_history.memory == 0
    assert len(list(tmp_path.rglob("*.f32"))) == 1
    tracker.enable_gate_tracking()
    assert list(tmp_path.iterdir()) == []
    feed(tracker, "a", batch_of())
    tracker.as_run()
    assert len(list(tmp_path.iterdir())) == 2
    del tracker
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_loses_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tracker = GateTracker(Source(), budget=1)
    tracker.enable_gate_tracking()

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(RunFolderError, match="No space left"):
            feed(tracker, "a", batch_of())
    assert tracker.gate_history["a"]["ffn_gates"][0].shape == (1, 5, 1)


def test_copies_are_independent_and_begin_empty(tracker: GateTracker) -> None:
    feed(tracker, "a", batch_of())
    for other in (copy.deepcopy(tracker), pickle.loads(pickle.dumps(tracker))):
        assert other.track_gates
        assert len(other.gate_history) == 0
        feed(other, "b", batch_of())
        assert list(tracker.gate_history) == ["a"]


# --- as a run -------------------------------------------------------------------------------------------


def test_the_analyzer_takes_a_tracker(tracker: GateTracker, tmp_path: Path) -> None:
    analyzer = GateAnalyzer(tracker)  # before anything ran
    batches = {f"s{number}": batch_of(seed=number) for number in range(3)}
    for sample_id, batch in batches.items():
        feed(tracker, sample_id, batch)
    tracker.disable_gate_tracking()
    with undrawn():
        analyzer.analyze_all_samples(tmp_path / "report")
    found = json.loads((tmp_path / "report" / "overall_statistics.json").read_text(encoding="utf-8"))
    values = np.concatenate([np.ravel(batch.gates["ffn"]) for batch in batches.values()]).astype(np.float64)
    assert found["total_samples"] == 3
    assert found["ffn_gates"]["mean"] == pytest.approx(values.mean())
    assert found["ffn_gates"]["median"] == np.median(values)
    assert list(analyzer.model.gate_history) == ["s0", "s1", "s2"]


def test_a_run_folder_shows_the_same_history(tracker: GateTracker, tmp_path: Path) -> None:
    feed(tracker, ["a", "b", "c"], batch_of(3, (5, 2, 4)))
    run = tracker.to_run(tmp_path / "run")
    history = GateAnalyzer(run).model.gate_history
    assert list(history) == ["a", "b", "c"]
    for sample_id, entry in history.items():
        mine = tracker.gate_history[sample_id]
        for key in ("attention_gates", "ffn_gates"):
            for one, other in zip(entry[key], mine[key], strict=True):
                np.testing.assert_array_equal(one, other)
        assert entry["layer_info"][0]["sequence_length"] == mine["layer_info"][0]["sequence_length"]
    with pytest.raises(KeyError):
        history["d"]


def test_a_snapshot_is_renewed_only_after_more_was_tracked(tracker: GateTracker) -> None:
    feed(tracker, "a", batch_of())
    first = tracker.as_run()
    assert tracker.as_run() is first
    feed(tracker, "b", batch_of())
    assert tracker.as_run().samples.collect()["sample_id"].to_list() == ["a", "b"]


def test_a_run_is_not_written_over_another(tracker: GateTracker, tmp_path: Path) -> None:
    feed(tracker, "a", batch_of())
    tracker.to_run(tmp_path / "run")
    with pytest.raises(RunFolderError, match="holds a finished run"):
        tracker.to_run(tmp_path / "run")


def test_gates_that_are_not_finite_are_named(tracker: GateTracker, tmp_path: Path) -> None:
    batch = batch_of()
    batch.gates["ffn"][0][0, 2] = np.nan
    feed(tracker, "bad", batch)
    with pytest.raises(GatescopeError, match="ffn gates for bad"):
        tracker.to_run(tmp_path / "run")
    assert tracker.get_gate_statistics("bad")["bad"]["ffn_stats"][0]["mean"] != 0


def test_layers_of_different_shapes_are_refused(tracker: GateTracker, tmp_path: Path) -> None:
    batch = batch_of()
    mixed = replace(
        batch, gates={**batch.gates, "ffn": (batch.gates["ffn"][0], batch.gates["ffn"][1][:, :1])}
    )
    feed(tracker, "a", mixed)
    with pytest.raises(GatescopeError, match="different shapes"):
        tracker.to_run(tmp_path / "run")


def test_what_holds_no_gates_is_refused() -> None:
    with pytest.raises(UsageError, match="holds no tracked gates"):
        run_of(42)  # type: ignore[arg-type]


def test_no_warning_while_nothing_is_wrong(tracker: GateTracker) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        feed(tracker, "a", batch_of())
        feed(tracker, ["b", "c"], batch_of(2))
