"""``gatescope monitor baseline``: from runs, logs and other baselines, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gatescope.runtime.cli.main import main
from gatescope.runtime.monitor.baseline.stored import load_baseline

from ...tiny_dataset import TinyDataset, tiny_dataset
from ...tiny_model import tiny_manifest, tiny_model
from .world import OTHER, Commands, broken, gates, traffic, well, write_gates, write_log


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> TinyDataset:
    """Features of 110 videos, one query each."""
    manifest = tiny_manifest("clipwise", 2)
    return tiny_dataset(tmp_path_factory.mktemp("data"), manifest, 110, videos=110, clips=(9, 12, 7))


@pytest.fixture(scope="module")
def run(dataset: TinyDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's run over them: its model, annotations and features are there."""
    folder = tmp_path_factory.mktemp("run")
    tiny_model(folder / "m.onnx", "clipwise", 2)
    words = ["run", folder / "m.onnx", "--annotations", dataset.annotations, "--features", dataset.root]
    assert main([*map(str, words), "--output", str(folder / "run")]) == 0
    return folder / "run"


def test_from_a_run_whose_model_can_run_again_faults_are_learned(
    tmp_path: Path, monitor: Commands, run: Path
) -> None:
    output = tmp_path / "new" / "baseline.json"
    said = monitor("baseline", run, "--output", output, "--fault-videos", "20")
    assert said.code == 0
    assert f"wrote {output}: 110 videos" in said.out
    assert "windows of 25, 50, 200 videos, false alarms in 0.01" in said.out
    assert "faults that these gates show" in said.out
    made = load_baseline(output)
    assert made.signatures is not None and made.signatures.videos == 20
    assert [(one.kind, one.videos) for one in made.sources] == [("run", 110)]


def test_the_result_as_json_with_windows_and_a_rate(tmp_path: Path, monitor: Commands, run: Path) -> None:
    output = tmp_path / "baseline.json"
    words = ["baseline", run, "-o", output, "--window", 60, "--window", 30, "--false-alarms", 0.05]
    told = json.loads(monitor(*words, "--no-faults", "--json").out)
    assert (told["videos"], told["windows"], told["false_alarms"]) == (110, [30, 60], 0.05)
    assert (told["faults"], told["faults_note"]) == ([], "left out by --no-faults")
    made = load_baseline(output)
    assert (made.windows, made.false_alarms, made.signatures) == ((30, 60), 0.05, None)


def test_a_silent_clip_of_ones_own(tmp_path: Path, monitor: Commands, run: Path) -> None:
    np.save(tmp_path / "silence.npy", np.full(3, 0.01, np.float32))
    words = ["baseline", run, "-o", tmp_path / "b.json", "--fault-videos", 15]
    assert monitor(*words, "--silence", tmp_path / "silence.npy").code == 0
    np.save(tmp_path / "wide.npy", np.zeros(7, np.float32))
    said = monitor(*words, "--silence", tmp_path / "wide.npy")
    assert said.code == 1 and "7" in said.err and "3" in said.err


def test_files_that_have_moved_are_said_and_can_be_named(
    tmp_path: Path, monitor: Commands, dataset: TinyDataset
) -> None:
    tiny_model(tmp_path / "m.onnx", "clipwise", 2)
    words = ["run", tmp_path / "m.onnx", "--annotations", dataset.annotations, "--features", dataset.root]
    assert main([*map(str, words), "--output", str(tmp_path / "run")]) == 0
    moved = (tmp_path / "m.onnx").rename(tmp_path / "moved.onnx")
    output = tmp_path / "b.json"
    said = monitor("baseline", tmp_path / "run", "-o", output)
    assert said.code == 0
    assert "alarms will not name faults" in said.err and "m.onnx" in said.err
    named = ["--model", moved, "--annotations", dataset.annotations, "--features", dataset.root]
    said = monitor("baseline", tmp_path / "run", "-o", output, "--fault-videos", 15, *named)
    assert said.code == 0 and "alarms will not name faults" not in said.err
    # What was asked for by name must be there.
    before = output.read_bytes()
    for flag in ("--model", "--annotations", "--features"):
        said = monitor("baseline", tmp_path / "run", "-o", output, *named, flag, tmp_path / "nowhere")
        assert said.code == 1 and "nowhere" in said.err
        assert output.read_bytes() == before


def test_from_a_log_and_from_other_baselines_in_any_order(tmp_path: Path, monitor: Commands) -> None:
    first = write_log(tmp_path / "first", traffic(gates(80, 5), slices=("ko", "en")))
    second = write_log(tmp_path / "second", traffic(gates(90, 6), first=80, slices=("ko", "en")))
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    said = monitor("baseline", first, second, "-o", one)
    assert said.code == 0
    assert "170 videos" in said.out and "too few videos for that: en, ko" in said.out
    assert "alarms will not name faults: faults are learned from a run folder" in said.out
    early = tmp_path / "early.json"
    assert monitor("baseline", first, "-o", early, "--insist").code == 0
    assert monitor("baseline", second, early, first, "-o", other).code == 0
    made, same = load_baseline(one), load_baseline(other)
    assert np.array_equal(made.videos.counts.integers, same.videos.counts.integers)
    assert np.array_equal(made.thresholds[""][0].spread, same.thresholds[""][0].spread)


def test_slices_with_enough_videos_are_watched_by_themselves(tmp_path: Path, monitor: Commands) -> None:
    log = write_log(tmp_path / "log", traffic(gates(260, 5), slices=("ko", "en")))
    assert "watched by themselves: en, ko" in monitor("baseline", log, "-o", tmp_path / "b.json").out


def test_few_videos_are_refused_with_the_flag_to_insist(tmp_path: Path, monitor: Commands) -> None:
    log, output = write_log(tmp_path / "log", well(99)), tmp_path / "b.json"
    said = monitor("baseline", log, "-o", output)
    assert said.code == 1 and not output.exists()
    assert "99 different videos" in said.err and "at least 100" in said.err and "--insist" in said.err
    assert monitor("baseline", log, "-o", output, "--insist").code == 0
    assert monitor("baseline", write_log(tmp_path / "one", well(1)), "-o", output, "--insist").code == 1


def test_sources_of_two_models_are_refused(tmp_path: Path, monitor: Commands) -> None:
    one = write_log(tmp_path / "one", well(120))
    other = write_gates(tmp_path / "other", gates(120, 1), OTHER)
    said = monitor("baseline", one, other, "-o", tmp_path / "b.json")
    assert said.code == 1 and not (tmp_path / "b.json").exists()
    assert "another model" in said.err and "checkpoint dddddddddddd" in said.err


@pytest.mark.parametrize(
    ("name", "why"), [("nothing", "not there"), ("empty", "without run.json or log.json"), ("text.json", "")]
)
def test_sources_that_are_none(tmp_path: Path, monitor: Commands, name: str, why: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.json").write_text("hello", encoding="utf-8")
    said = monitor("baseline", tmp_path / name, "-o", tmp_path / "b.json")
    assert said.code == 1 and name in said.err and why in said.err
    assert not (tmp_path / "b.json").exists()


def test_faults_left_out_and_asked_for_is_bad_usage(tmp_path: Path, monitor: Commands) -> None:
    log = write_log(tmp_path / "log", well(120))
    said = monitor("baseline", log, "-o", tmp_path / "b.json", "--no-faults", "--fault-videos", 20)
    assert said.code == 2 and "--no-faults" in said.err
    assert not (tmp_path / "b.json").exists()


def test_an_output_that_cannot_be_written(tmp_path: Path, monitor: Commands) -> None:
    log = write_log(tmp_path / "log", broken(120))
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    said = monitor("baseline", log, "-o", tmp_path / "file" / "b.json")
    assert said.code == 1 and "b.json" in said.err
    said = monitor("baseline", log, "-o", tmp_path)
    assert said.code == 1 and str(tmp_path) in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "log"]


@pytest.mark.parametrize("command", ["check", "replay", "watch", "alerts"])
@pytest.mark.parametrize("damage", ["nothing", "binary", "newer", "changed", "folder"])
def test_baselines_that_cannot_be_used(
    tmp_path: Path, monitor: Commands, baseline: Path, command: str, damage: str
) -> None:
    path = tmp_path / "b.json"
    plain = json.loads(baseline.read_text(encoding="utf-8"))
    if damage == "binary":
        path.write_bytes(bytes(range(256)) * 10)
    elif damage == "newer":
        path.write_text(json.dumps(plain | {"format_version": 99}), encoding="utf-8")
    elif damage == "changed":
        path.write_text(
            json.dumps({key: value for key, value in plain.items() if key != "model"}), encoding="utf-8"
        )
    elif damage == "folder":
        path.mkdir()
    place = {"check": write_gates, "replay": write_log, "watch": write_log}.get(command)
    words: list[object] = [] if place is None else [place(tmp_path / "place", _of(command))]
    extra = ["--output", tmp_path / "alerting"] if command == "alerts" else []
    said = monitor(command, *words, "--baseline", path, *extra)
    assert said.code == 1 and "b.json" in said.err
    assert ("update gatescope" in said.err) == (damage == "newer")
    assert not (tmp_path / "alerting").exists()


def _of(command: str) -> object:
    return gates(20, 1) if command == "check" else well(20)


@pytest.mark.parametrize("command", ["check", "replay", "watch"])
def test_a_baseline_of_another_model_is_refused(
    tmp_path: Path, monitor: Commands, baseline: Path, command: str
) -> None:
    if command == "check":
        place = write_gates(tmp_path / "run", gates(20, 1), OTHER)
    else:
        place = write_log(tmp_path / "log", well(20), manifest=OTHER)
    said = monitor(command, place, "--baseline", baseline)
    assert said.code == 1
    assert "another model" in said.err and "checkpoint dddddddddddd" in said.err
    assert "gatescope monitor baseline" in said.err
