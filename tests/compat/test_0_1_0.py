"""Everything that version 0.1.0 wrote is read by this one: see ``v0_1_0/make.py``, which made it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.runtime import GateSession, open_run
from gatescope.runtime.cli.main import main
from gatescope.runtime.gates.manifest import Manifest
from gatescope.runtime.monitor import Monitor, MonitoredSession, load_baseline, read_log
from gatescope.runtime.monitor.counting.observed import ObservedVideos
from gatescope.runtime.monitor.log.folder import open_folder
from gatescope.runtime.monitor.log.frames import VIDEO
from gatescope.runtime.monitor.log.records import decode_video, encode_video
from gatescope.runtime.monitor.log.segment import SegmentReader

from ..runtime.tiny_model import expected, tiny_batch

FROZEN = Path(__file__).parent / "v0_1_0"
#: Where the files were made: it stands in them.
MADE_IN = "/compat-0.1.0"
EXPECTED: dict[str, dict[str, Any]] = json.loads((FROZEN / "expected.json").read_text(encoding="utf-8"))
MODELS = sorted(path.name for path in FROZEN.iterdir() if path.suffix in (".onnx", ".ts"))
RUNS = ("clipwise", "global", "elementwise", "summary", "gates")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the files, as if they had been made where it lies."""
    folder = tmp_path / "old"
    shutil.copytree(FROZEN, folder, ignore=shutil.ignore_patterns("__pycache__", "make.py"))
    for path in folder.rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(MADE_IN, str(folder)), encoding="utf-8")
    return folder


def gatescope(*words: object) -> int:
    """The exit code of a command; no bad usage."""
    return main([str(word) for word in words])


def test_the_files_are_as_they_were_made() -> None:
    lines = (FROZEN / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = dict(reversed(line.split("  ")) for line in lines)
    own = {"SHA256SUMS", "make.py"}
    files = [path for path in FROZEN.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    there = {f"./{path.relative_to(FROZEN)}": path for path in files if path.name not in own}
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items()} == sums
    assert sum(path.stat().st_size for path in files) < 350_000


@pytest.mark.parametrize("name", MODELS)
def test_a_model_runs(name: str, old: Path) -> None:
    with GateSession(old / name, device="cpu") as session:
        batch = tiny_batch(session.manifest)
        outputs = session.run(batch)
        formula = expected(session.manifest, batch)
        for kind, gates in outputs.gates.items():
            if name != "heard.onnx":  # another formula
                valid = gates[0, :, : batch["src_vid"].shape[1]]
                np.testing.assert_allclose(valid, formula[f"gate_{kind}"][0], atol=1e-5)
        assert set(outputs.gates) == set(session.manifest.tracked_kinds)


def test_every_fact_of_a_manifest_is_kept() -> None:
    text = (FROZEN / "manifest.json").read_text(encoding="utf-8")
    was = json.loads(text)
    now = json.loads(Manifest.from_json(text).to_json())
    assert {key: now[key] for key in was} == was


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_read_and_inspected(name: str, old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = open_run(old / "runs" / name)
    assert run.finished
    for kind, gates in EXPECTED.get(name, {}).items():
        first = run.samples.collect()["sample_id"][0]
        np.testing.assert_array_equal(run.tensor(first, kind), np.float32(gates))
    assert gatescope("inspect", old / "runs" / name) == 0
    capsys.readouterr()


@pytest.mark.parametrize("name", ["clipwise", "gates"])
def test_a_run_made_again_is_the_same(name: str, old: Path, tmp_path: Path) -> None:
    options = ("--annotations", old / "data/val.jsonl", "--features", old / "data", "--device", "cpu")
    again = tmp_path / "again"
    assert gatescope("run", old / f"{name}.onnx", *options, "--batch-size", 2, "--output", again) == 0
    assert gatescope("diff", old / "runs" / name, again, "--tolerance", "1e-6") == 0


def test_a_stopped_run_is_resumed(old: Path) -> None:
    options = ("--annotations", old / "data/val.jsonl", "--features", old / "data", "--device", "cpu")
    stopped = old / "runs" / "stopped"
    assert not open_run(stopped).finished
    kept = {path: path.read_bytes() for path in (stopped / "gates").iterdir()}
    words = ("run", old / "clipwise.onnx", *options, "--batch-size", 2, "--output", stopped, "--resume")
    assert gatescope(*words) == 0
    assert open_run(stopped).finished
    assert {path: path.read_bytes() for path in kept} == kept
    assert gatescope("diff", old / "runs" / "clipwise", stopped, "--tolerance", "1e-6") == 0


def test_runs_are_analysed_and_evaluated(old: Path, tmp_path: Path) -> None:
    runs, annotations = old / "runs", old / "data/val.jsonl"
    report = tmp_path / "report"
    words = ("analyze", runs / "clipwise", runs / "stopped", "--annotations", annotations)
    assert gatescope(*words, "--output", report) == 0
    assert gatescope("evaluate", runs / "clipwise", "--annotations", annotations) == 0


def test_an_ablation_stands_in_a_report_and_is_judged_again(old: Path, tmp_path: Path) -> None:
    data = ("--annotations", old / "heard/val.jsonl", "--features", old / "heard", "--device", "cpu")
    assert gatescope("run", old / "heard.onnx", *data, "--output", tmp_path / "run") == 0
    words = ("analyze", tmp_path / "run", "--ablation", old / "ablation", "--output", tmp_path / "report")
    assert gatescope(*words) == 0
    assert "blation" in (tmp_path / "report" / "ANALYSIS_REPORT.md").read_text(encoding="utf-8")
    before = json.loads((old / "ablation" / "ablation.json").read_text(encoding="utf-8"))
    parts = {path: path.read_bytes() for path in (old / "ablation" / "predictions").iterdir()}
    words = ("ablate", old / "heard.onnx", *data, "--batch-size", 4, "--output", old / "ablation", "--resume")
    assert gatescope(*words) == 0
    after = json.loads((old / "ablation" / "ablation.json").read_text(encoding="utf-8"))
    assert {path: path.read_bytes() for path in parts} == parts
    assert (after["queries"], after["videos"]) == (before["queries"], before["videos"])


def test_a_baseline_holds(old: Path, tmp_path: Path) -> None:
    baseline = old / "baseline.json"
    assert len(load_baseline(baseline).videos) == 4
    assert gatescope("monitor", "alerts", "--baseline", baseline, "--output", tmp_path / "alerting") == 0
    merged = tmp_path / "merged.json"
    assert gatescope("monitor", "baseline", baseline, old / "gate-log", "--insist", "-o", merged) == 0
    assert len(load_baseline(merged).videos) == 24


def test_a_log_is_read_replayed_and_saved(old: Path, tmp_path: Path) -> None:
    ids = {one.video.sample_id for one in read_log(old / "gate-log")}
    assert ids == {f"{word} {number}" for word in ("video", "영상") for number in range(10)}
    words = ("monitor", "replay", old / "gate-log", "--baseline", old / "baseline.json", "--window", 50)
    assert gatescope(*words) == 0
    assert gatescope("monitor", "recover", old / "gate-log", "--output", tmp_path / "saved") == 0
    [sealed] = (old / "gate-log" / "sealed").iterdir()
    assert open_run(sealed).samples.collect().height > 0


def test_a_log_that_was_cut_off_is_read_up_to_there(old: Path, tmp_path: Path) -> None:
    assert 10 < len(list(read_log(old / "gate-log-cut"))) < 20
    assert gatescope("monitor", "recover", old / "gate-log-cut", "--output", tmp_path / "saved") in (0, 3)


def test_a_video_is_written_as_it_was(old: Path) -> None:
    """The same video gives the same bytes in the log, whichever version writes it."""
    log = open_folder(old / "gate-log-cut")
    [path] = (old / "gate-log-cut" / "segments").iterdir()
    reader = SegmentReader(path)
    payloads = [frame.payload for frame in reader.frames() if frame.kind == VIDEO]
    reader.close()
    assert len(payloads) > 10
    videos = ObservedVideos.of([decode_video(one, len(log.model.layout)) for one in payloads])
    assert [encode_video(one) for one in videos] == payloads


def test_a_service_goes_on_with_a_log(old: Path) -> None:
    with Monitor(old / "gate-log", baseline=old / "baseline.json") as monitor:
        session = MonitoredSession(GateSession(old / "clipwise.onnx", device="cpu"), monitor)
        session.run(tiny_batch(session.manifest), ids=["new 1", "new 2"])
    assert monitor.last_fault == ""
    assert len(list(read_log(old / "gate-log"))) == 22
