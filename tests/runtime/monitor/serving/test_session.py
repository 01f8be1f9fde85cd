"""A watched session: what the caller gets, what is counted, and that no fault of the monitor reaches him."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from gatescope.runtime import GateSession, Monitor, MonitoredSession
from gatescope.runtime.errors import BaselineError, GateLogError, ManifestError, MonitorError
from gatescope.runtime.monitor.baseline.baseline import make_baseline
from gatescope.runtime.monitor.baseline.videos import BaselineVideos
from gatescope.runtime.monitor.counting.videos import VideoCounts, count_gates
from gatescope.runtime.monitor.log.reader import read_log
from gatescope.runtime.monitor.model import WatchedModel
from gatescope.runtime.monitor.settings import LogSettings, MonitorSettings

from ...tiny_model import tiny_model

QUIET = MonitorSettings(poll_seconds=0.01, keep_gates=1.0, log=LogSettings(seal=False))


@pytest.fixture(scope="module", params=["clipwise", "global", "elementwise"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    tiny_model(path, request.param)
    return path


@pytest.fixture(scope="module")
def clipwise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    tiny_model(path)
    return path


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    with Monitor(tmp_path / "log", settings=QUIET) as monitor:
        yield monitor


def batch(samples: int, clips: int = 9, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    valid = np.zeros((samples, clips), np.float32)
    for row in range(samples):
        valid[row, : clips - row] = 1
    return {
        "src_txt": np.ones((samples, 3, 4), np.float32),
        "src_txt_mask": np.ones((samples, 3), np.float32),
        "src_vid": rng.standard_normal((samples, clips, 7)).astype(np.float32),
        "src_vid_mask": valid,
        "src_aud": rng.standard_normal((samples, clips, 5)).astype(np.float32),
        "src_aud_mask": valid,
    }


def ort_session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def feed_of(session: onnxruntime.InferenceSession, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {one.name: arrays[one.name] for one in session.get_inputs()}


def expected_counts(path: Path, arrays: dict[str, np.ndarray]) -> list[VideoCounts]:
    """Of each sample, cut to its valid clips, from an unwatched session."""
    with GateSession(path, device="cpu") as session:
        gates = session.run(arrays).gates
        layout = WatchedModel.of(session.manifest).layout
    counts: list[VideoCounts] = []
    for row, clips in enumerate(arrays["src_vid_mask"].sum(axis=1).astype(int)):
        own = {kind: array[row : row + 1, :, :clips] for kind, array in gates.items()}
        counts.append(count_gates(layout, own))
    return counts


def logged(folder: Path) -> list[Any]:
    return [one.video for one in read_log(folder)]


def test_a_gate_session_answers_as_before_and_its_gates_are_counted(
    model: Path, monitor: Monitor, tmp_path: Path
) -> None:
    arrays = batch(3)
    with GateSession(model, device="cpu") as plain, GateSession(model, device="cpu") as other:
        watched = MonitoredSession(other, monitor)
        usual, found = plain.run(arrays), watched.run(arrays, ids=["a", "b", "c"], slice="ko")
        assert type(found) is type(usual)
        assert all(np.array_equal(usual.raw[name], found.raw[name]) for name in usual.raw)
        assert watched.manifest == plain.manifest and watched.path == model
    monitor.flush()
    videos = logged(tmp_path / "log")
    assert [(one.sample_id, one.slice, one.clips) for one in videos] == [
        (name, "ko", 9 - row) for row, name in enumerate("abc")
    ] or model.parent.name.startswith("global")
    for video, counts in zip(videos, expected_counts(model, arrays), strict=True):
        assert np.array_equal(video.integers, counts.integers[0])
        assert np.allclose(video.sums, counts.sums[0], rtol=1e-12)
    assert monitor.faults == 0


@pytest.mark.parametrize(
    "names", [None, [], ["pred_logits"], ["gate_ffn", "pred_spans"], ["gate_attention", "gate_ffn"]]
)
def test_onnx_runtime_answers_exactly_what_it_was_asked(
    clipwise: Path, monitor: Monitor, tmp_path: Path, names: list[str] | None
) -> None:
    session = ort_session(clipwise)
    arrays = batch(2)
    feed = feed_of(session, arrays)
    watched = MonitoredSession(session, monitor)
    usual = session.run(names, feed)
    for found in (
        watched.run(names, feed, ids=["a", "b"]),
        watched.run(output_names=names, input_feed=feed, ids=["c", "d"]),
        watched.run(names, feed, None),
    ):
        assert isinstance(found, list) and len(found) == len(usual)
        assert all(np.array_equal(one, other) for one, other in zip(usual, found, strict=True))
    assert [one.name for one in watched.get_inputs()] == [one.name for one in session.get_inputs()]
    monitor.flush()
    videos = logged(tmp_path / "log")
    assert [one.sample_id for one in videos] == ["a", "b", "c", "d", "", ""]
    for number, counts in enumerate(expected_counts(clipwise, arrays)):
        assert np.array_equal(videos[number].integers, counts.integers[0])


def test_summaries_are_counted(tmp_path: Path) -> None:
    tiny_model(tmp_path / "m.onnx", outputs_kind="summary")
    with (
        GateSession(tmp_path / "m.onnx", device="cpu") as session,
        Monitor(tmp_path / "log", settings=QUIET) as monitor,
    ):
        MonitoredSession(session, monitor).run(batch(2), ids=["a", "b"])
        monitor.flush()
        assert monitor.faults == 0
    assert [one.sample_id for one in logged(tmp_path / "log")] == ["a", "b"]


def test_the_sessions_own_errors_are_raised_as_they_are(clipwise: Path, monitor: Monitor) -> None:
    session = ort_session(clipwise)
    watched = MonitoredSession(session, monitor)
    with pytest.raises(ValueError, match="Required inputs"):
        watched.run(None, {})
    with pytest.raises(TypeError):
        watched.run(None)
    assert monitor.faults == 0


def test_what_the_caller_does_to_his_arrays_changes_nothing(
    clipwise: Path, monitor: Monitor, tmp_path: Path
) -> None:
    arrays = batch(1)
    with GateSession(clipwise, device="cpu") as session:
        counts = expected_counts(clipwise, arrays)[0]
        outputs = MonitoredSession(session, monitor).run(arrays, ids="a")
        for array in [*outputs.raw.values(), *arrays.values()]:
            array[...] = np.nan
    monitor.flush()
    assert np.array_equal(logged(tmp_path / "log")[0].integers, counts.integers[0])


@pytest.mark.parametrize("ids", [["a"], ["a", "b", "c"], object()])
def test_wrong_ids_are_a_fault_of_the_monitor_alone(clipwise: Path, monitor: Monitor, ids: Any) -> None:
    with GateSession(clipwise, device="cpu") as session:
        outputs = MonitoredSession(session, monitor).run(batch(2), ids=ids)
    assert outputs.gates
    monitor.flush()
    assert monitor.faults == 1 and " for 2 samples" in monitor.last_fault


def test_ids_and_slices_of_any_kind(clipwise: Path, monitor: Monitor, tmp_path: Path) -> None:
    told = [7, "b" * 10_000, "c" * 10_000, "\ud800", "", None]
    with GateSession(clipwise, device="cpu") as session:
        watched = MonitoredSession(session, monitor)
        watched.run(batch(len(told)), ids=told, slice="k" * 500)
        for number in range(50):
            watched.run(batch(1), ids=f"s{number}", slice=f"slice {number}")
    monitor.flush()
    videos = logged(tmp_path / "log")
    assert monitor.faults == 0 and len(videos) == len(told) + 50
    assert videos[0].sample_id == "7" and all(len(one.sample_id) <= 512 for one in videos)
    assert len({one.sample_id for one in videos}) == len(videos)
    slices = {one.slice for one in videos}
    assert len(slices) == QUIET.most_slices + 1 and "other" in slices
    assert max(map(len, slices)) == 64


def test_a_queue_that_is_full_drops_and_says_so(clipwise: Path) -> None:
    settings = replace(QUIET, poll_seconds=60.0, queue_requests=3)
    with GateSession(clipwise, device="cpu") as session, Monitor(settings=settings) as monitor:
        watched = MonitoredSession(session, monitor)
        for _ in range(5):
            watched.run(batch(2))
        assert monitor.dropped == 4


def test_moved_gates_are_not_the_models(tmp_path: Path) -> None:
    tiny_model(tmp_path / "m.onnx", overridable=True)
    with (
        GateSession(tmp_path / "m.onnx", device="cpu") as session,
        Monitor(tmp_path / "log", settings=QUIET) as monitor,
    ):
        watched = MonitoredSession(session, monitor)
        watched.run(batch(1), overrides={"attention": {"scale": 0}}, ids="moved")
        watched.run(batch(1), ids="own")
        monitor.flush()
    assert [one.sample_id for one in logged(tmp_path / "log")] == ["own"]


def test_a_fault_behind_the_request_is_counted(
    clipwise: Path, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no counting today")

    monkeypatch.setattr("gatescope.runtime.monitor.counting.requests.count_gates", broken)
    with GateSession(clipwise, device="cpu") as session:
        assert MonitoredSession(session, monitor).run(batch(1)).gates
    monitor.flush()
    assert monitor.faults == 1 and "no counting today" in monitor.last_fault


def test_after_closing_requests_go_on_unwatched(clipwise: Path, tmp_path: Path) -> None:
    with GateSession(clipwise, device="cpu") as session:
        monitor = Monitor(tmp_path / "log", settings=QUIET)
        watched = MonitoredSession(session, monitor)
        watched.run(batch(1), ids="a")
        monitor.close()
        monitor.close()
        assert watched.run(batch(1), ids="b").gates
    assert [one.sample_id for one in logged(tmp_path / "log")] == ["a"]


def test_requests_of_many_threads_are_all_counted(clipwise: Path, monitor: Monitor) -> None:
    with GateSession(clipwise) as session, ThreadPoolExecutor(8) as threads:
        watched = MonitoredSession(session, monitor)
        for done in [threads.submit(watched.run, batch(1), ids=f"v{number}") for number in range(400)]:
            done.result()
    monitor.flush()
    state = monitor.snapshot().fleet.state
    assert (state.counters["requests"], state.totals.videos, state.counters["acknowledged"]) == (
        400,
        400,
        400,
    )
    assert (monitor.dropped, monitor.faults) == (0, 0)


def test_a_snapshot_is_of_its_moment_and_of_a_closed_monitor_there_is_none(clipwise: Path) -> None:
    with Monitor() as monitor, GateSession(clipwise) as session:
        watched = MonitoredSession(session, monitor)
        watched.run(batch(2))
        monitor.flush()
        before = monitor.snapshot()
        watched.run(batch(3))
        monitor.flush()
        assert before.fleet.state.totals.videos == 2
        assert monitor.snapshot().fleet.state.totals.videos == 5
    with pytest.raises(MonitorError, match="closed"):
        monitor.snapshot()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_counts_for_itself(clipwise: Path, monitor: Monitor, tmp_path: Path) -> None:
    with GateSession(clipwise, device="cpu", threads=1) as session:
        watched = MonitoredSession(session, monitor)
        watched.run(batch(1), ids="before")
        monitor.flush()
        child = os.fork()
        if child == 0:
            # The model's own threads do not survive a fork: the answer is a recorded one.
            code = 1
            try:
                monitor.offer(_recorded(), False, ["child"], "")
                monitor.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        watched.run(batch(1), ids="after")
    monitor.flush()
    assert sorted(one.sample_id for one in logged(tmp_path / "log")) == ["after", "before", "child"]
    fleet = monitor.snapshot().fleet
    assert fleet.state.totals.videos == 3 and fleet.live == 1


def _recorded() -> Any:
    from gatescope.runtime.monitor.serving.taps import Tapped

    gates = {kind: np.full((1, 2, 4, 1), 0.25, np.float32) for kind in ("attention", "ffn")}
    return Tapped(None, lambda: gates, dict, shared=False)


def test_several_sessions_of_one_model_share_a_monitor_and_another_model_is_refused(
    clipwise: Path, monitor: Monitor, tmp_path: Path
) -> None:
    tiny_model(tmp_path / "other.onnx", "global")
    with (
        GateSession(clipwise, device="cpu") as one,
        GateSession(tmp_path / "other.onnx", device="cpu") as other,
    ):
        MonitoredSession(one, monitor)
        MonitoredSession(ort_session(clipwise), monitor)
        with pytest.raises(MonitorError, match="another model already"):
            MonitoredSession(other, monitor)
        with pytest.raises(GateLogError, match="of another model"):
            MonitoredSession(other, Monitor(tmp_path / "log"))


def test_what_cannot_be_watched_is_refused(tmp_path: Path) -> None:
    monitor = Monitor()
    with pytest.raises(MonitorError, match="this session cannot be monitored"):
        MonitoredSession(object(), monitor)
    tiny_model(tmp_path / "plain.onnx", outputs_kind="plain")
    with (
        GateSession(tmp_path / "plain.onnx", device="cpu") as session,
        pytest.raises(MonitorError, match="no gate outputs to watch"),
    ):
        MonitoredSession(session, monitor)
    with pytest.raises(MonitorError, match="watches nothing yet"):
        monitor.snapshot()

    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [out])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
        tmp_path / "x.onnx",
    )
    with pytest.raises(ManifestError, match="no gatescope manifest"):
        MonitoredSession(ort_session(tmp_path / "x.onnx"), monitor)


def test_a_folder_that_cannot_be_written_is_told_at_once(clipwise: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with (
        GateSession(clipwise, device="cpu") as session,
        pytest.raises(GateLogError, match="cannot be written"),
    ):
        MonitoredSession(session, Monitor(tmp_path / "file" / "log"))


def test_a_baseline_of_another_model_is_refused(clipwise: Path, tmp_path: Path) -> None:
    from ....torture.population import LAYOUT, MODEL, population

    names = [f"v{number}" for number in range(120)]
    counts = population(120, np.random.default_rng(0))
    other = make_baseline(MODEL, [BaselineVideos.of(LAYOUT, names, names, [""] * 120, counts)], windows=(25,))
    with (
        GateSession(clipwise, device="cpu") as session,
        pytest.raises(BaselineError, match="another model than this session"),
    ):
        MonitoredSession(session, Monitor(baseline=other))
