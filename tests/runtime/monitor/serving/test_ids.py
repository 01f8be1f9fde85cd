"""ids= names videos: the example of docs/monitor.md, and what is said where queries are given for them."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from gatescope.runtime import GateSession
from gatescope.runtime.monitor.baseline.baseline import make_baseline
from gatescope.runtime.monitor.baseline.stored import save_baseline
from gatescope.runtime.monitor.baseline.videos import BaselineVideos
from gatescope.runtime.monitor.counting.requests import TakenRequest
from gatescope.runtime.monitor.counting.videos import count_gates
from gatescope.runtime.monitor.log.reader import read_log
from gatescope.runtime.monitor.model import WatchedModel
from gatescope.runtime.monitor.serving.worker import Worker
from gatescope.runtime.monitor.settings import LogSettings, MonitorSettings

from ...tiny_model import tiny_batch, tiny_manifest, tiny_model

PAGE = (Path(__file__).parents[4] / "docs" / "monitor.md").read_text(encoding="utf-8")
MANIFEST = tiny_manifest()
MODEL = WatchedModel.of(MANIFEST)
Gates = dict[str, np.ndarray]
QUIET = MonitorSettings(poll_seconds=0.01, log=LogSettings(seal=False))


def test_the_example_of_the_page_runs_for_both_kinds_of_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [snippet] = [
        code for code in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "MonitoredSession(" in code
    ]
    monkeypatch.chdir(tmp_path)
    Path("notify").write_text("#!/bin/sh\n", encoding="utf-8")
    Path("notify").chmod(0o755)
    tiny_model(Path("model.onnx"))
    with GateSession("model.onnx", device="cpu") as session:
        batch = tiny_batch(session.manifest, (5, 3), (1, 2))
        model = WatchedModel.of(session.manifest, "")
    gates = np.random.default_rng(0).uniform(-1, 1, (120, 2, 9, 1)).astype(np.float32)
    counts = count_gates(model.layout, {"attention": gates, "ffn": gates})
    names = [f"v{number}" for number in range(120)]
    part = BaselineVideos.of(model.layout, names, names, [""] * 120, counts)
    save_baseline(make_baseline(model, [part], windows=(25,)), Path("baseline.json"))
    inputs = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"]).get_inputs()
    known: dict[str, Any] = {"batch": batch, "feed": {one.name: batch[one.name] for one in inputs}}
    exec(snippet, known)
    known["monitor"].close()
    assert known["monitor"].faults == 0
    found = [(one.video.sample_id, one.video.slice) for one in read_log(tmp_path / "gate-log")]
    assert found == [("video-1", "ko"), ("video-2", "ko")] * 2
    assert np.allclose(known["values"][-1], list(known["outputs"].raw.values())[-1], atol=1e-6)


def told(
    model: WatchedModel, caplog: pytest.LogCaptureFixture, *requests: tuple[Gates, list[str]]
) -> list[str]:
    """What a worker says of the ids of requests."""
    caplog.clear()
    worker = Worker(model, MANIFEST, None, None, None, QUIET)
    with caplog.at_level(logging.WARNING, "gatescope"):
        for gates, ids in requests:
            worker.put(TakenRequest(0, gates, False, None, tuple(ids), ""), 0.0)
        worker.flush(60)
        worker.close()
    assert worker.faults == 0
    return [record.message for record in caplog.records if "ids= names videos" in record.message]


@pytest.mark.parametrize("shape", [(3, 2, 1, 1), (3, 2, 9, 1), (3, 2, 9, 4)], ids=str)
def test_the_same_gates_under_other_ids_in_one_batch_are_said_once(
    caplog: pytest.LogCaptureFixture, shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    different = {kind: rng.uniform(-0.9, 0.9, shape).astype(np.float32) for kind in ("attention", "ffn")}
    twice = {kind: array[[0, 1, 0]] for kind, array in different.items()}
    one_kind = twice | {"ffn": different["ffn"]}
    assert told(MODEL, caplog, (different, ["q1", "q2", "q3"])) == []
    assert told(MODEL, caplog, (one_kind, ["q1", "q2", "q3"])) == []
    # All queries of a video under the video's id, as it should be.
    assert told(MODEL, caplog, (twice, ["a", "b", "a"])) == []
    # The same videos again, in another request.
    assert told(MODEL, caplog, (different, ["a", "b", "c"]), (different, ["d", "e", "f"])) == []
    [said] = told(MODEL, caplog, *[(twice, ["q1", "q2", "q3"])] * 3)
    assert "'q1' and 'q3'" in said


@pytest.mark.parametrize("values", [[0.0], [0.25], [-1.0, 0.0, 1.0], [np.nan]], ids=str)
def test_gates_that_are_stuck_or_broken_are_no_sign(
    caplog: pytest.LogCaptureFixture, values: list[float]
) -> None:
    one = np.resize(np.float32(values), (2, 9, 1))
    gates = {kind: np.stack([one, one]) for kind in ("attention", "ffn")}
    assert told(MODEL, caplog, (gates, ["v1", "v2"])) == []
