"""One cause is one line, however many samples or lines it befell."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from gatescope.analysis.evaluation.ground_truth import read_ground_truth
from gatescope.analysis.evaluation.predictions import read_prediction_file
from gatescope.runtime.causes import find_causes, told_causes
from gatescope.runtime.cli.main import main
from gatescope.runtime.data.annotations import read_annotations
from gatescope.runtime.data.folders import FeatureFolders
from gatescope.runtime.errors import BadSamplesError, DatasetError
from gatescope.runtime.gates.preprocessing import Preprocessing
from gatescope.runtime.runs.from_log import import_log
from gatescope.runtime.runs.info import read_info
from gatescope.runtime.runs.predictions import read_predictions
from gatescope.runtime.session.model_file import write_manifest_onnx

from .tiny_case import TinyCase


@pytest.fixture
def case(tmp_path: Path) -> TinyCase:
    return TinyCase(tmp_path)


def listed(error: BaseException) -> list[str]:
    """The lines of the message that list something."""
    return [line[4:] for line in str(error).splitlines() if line.startswith("    ")]


def every(case: TinyCase, folder: str, change: Callable[[Path], object]) -> None:
    for path in (case.data.root / folder).iterdir():
        change(path)


def narrow(path: Path) -> None:
    np.save(path, np.ones((len(np.load(path)), 1), np.float32))


def one_nan(path: Path) -> None:
    array = np.load(path)
    array[-1, -1] = np.nan
    np.save(path, array)


def one_axis(path: Path) -> None:
    np.save(path, np.ones(len(np.load(path)), np.float32))


def other_key(path: Path) -> None:
    np.savez(path, other=np.ones((2, 4), np.float32))


CAUSES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing audio": ("pann_features", Path.unlink, "no file ROOT/pann_features/….npy"),
    "missing video": ("clip_features", Path.unlink, "no file ROOT/clip_features/….npz"),
    "missing text": ("clip_text_features", Path.unlink, "no file ROOT/clip_text_features/….npz"),
    "empty": ("pann_features", lambda path: path.write_bytes(b""), "ROOT/pann_features/….npy is empty"),
    "junk": (
        "clip_text_features",
        lambda path: path.write_bytes(b"junk"),
        "ROOT/clip_text_features/….npz is neither an .npy nor an .npz file",
    ),
    "another width": ("pann_features", narrow, "ROOT/pann_features/….npy is 1 wide; the model takes 3"),
    "another shape": (
        "pann_features",
        one_axis,
        "ROOT/pann_features/….npy has shape (…,), not (clips, width)",
    ),
    "NaN": (
        "pann_features",
        one_nan,
        "ROOT/pann_features/….npy holds 1 NaN or Inf values, the first in row … (from 0)",
    ),
    "another key": (
        "clip_text_features",
        other_key,
        "ROOT/clip_text_features/….npz has no array 'last_hidden_state'; it holds other",
    ),
}


@pytest.mark.parametrize("skip_bad", [False, True], ids=["stop", "skip bad"])
@pytest.mark.parametrize(("folder", "change", "said"), CAUSES.values(), ids=CAUSES.keys())
def test_a_cause_that_befalls_every_sample_is_one_line(
    case: TinyCase, folder: str, change: Callable[[Path], object], said: str, skip_bad: bool
) -> None:
    every(case, folder, change)
    with pytest.raises(DatasetError) as caught:
        case.run(skip_bad=skip_bad)
    assert listed(caught.value) == ["all 7 samples: " + said.replace("ROOT", str(case.data.root))]
    if isinstance(caught.value, BadSamplesError):
        assert [sample for sample, _ in caught.value.samples] == case.data.qids
        assert "--skip-bad" not in str(caught.value), "it would leave nothing"


def test_every_cause_has_a_line_with_its_first_samples_and_run_json_has_all(
    case: TinyCase, capsys: pytest.CaptureFixture[str]
) -> None:
    for qid in ("101", "103", "104", "105"):
        case.data.text(qid).unlink()
    case.data.text("106").write_bytes(b"")
    texts = case.data.root / "clip_text_features"
    said = [
        f"4 samples (101, 103, 104, …): no file {texts}/….npz",
        f"sample 106: {texts}/qid106.npz is empty",
    ]
    with pytest.raises(BadSamplesError, match="5 of 7 samples") as caught:
        case.run()
    assert listed(caught.value) == said
    arguments = [str(case.model), "--annotations", str(case.data.annotations)]
    arguments += ["--features", str(case.data.root), "--output", str(case.output), "--device", "cpu"]
    assert main(["run", *arguments, "--skip-bad"]) == 0
    told = capsys.readouterr().out
    assert "left out 5 of 7 samples:\n  " + "\n  ".join(said) in told
    skipped = read_info(case.output).skipped
    assert [one.sample_id for one in skipped] == ["101", "103", "104", "105", "106"]
    assert all(f"qid{one.sample_id}.npz" in one.reason for one in skipped)
    assert main(["inspect", str(case.output)]) == 0
    assert f"no file {texts}/….npz" in capsys.readouterr().out


def test_a_hundred_thousand_failures_are_a_few_lines() -> None:
    one = [(str(i), f"no file /data/text/qid{i}.npz") for i in range(100_000)]
    assert told_causes(one, "sample", 100_000) == ["all 100,000 samples: no file /data/text/….npz"]
    words = ["".join(letters) for letters in itertools.product("abcdefghijklmno", repeat=3)][:3_000]
    many = [(str(i), words[i % 3_000]) for i in range(100_000)]
    lines = told_causes(many, "sample")
    assert len(lines) == 11 and "2,990 more causes" in lines[-1]


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        (["no file v1.npz", "no file v2.npz"], "no file ….npz"),
        (["no file C:\\f\\v 1.npz", "no file C:\\f\\v 2.npz"], "no file C:\\f\\….npz"),
        (["a1/v.npz is 512 wide", "a1/v.npz is 2304 wide"], "a1/v.npz is … wide"),
        (["'../a' is not safe", "'../b' is not safe"], "… is not safe"),
        (["repeats the qid a of line 1", "repeats the qid b of line 2"], "repeats the qid … of line …"),
        (["duration is -1, not", "duration is 0, not"], "duration is …, not"),
    ],
)
def test_what_differs_between_samples_is_left_open(reasons: Sequence[str], said: str) -> None:
    (cause,) = find_causes((str(i), reason) for i, reason in enumerate(reasons))
    assert (cause.names, cause.reason) == (("0", "1"), said)


# What no sample of a dataset survives.


@pytest.mark.parametrize("skip_bad", [False, True], ids=["stop", "skip bad"])
def test_video_folders_in_the_wrong_order_are_one_message(case: TinyCase, skip_bad: bool) -> None:
    root = case.data.root
    swapped = [root / "clip_features", root / "slowfast_features"]
    case.data.video(0, str(case.data.rows[0]["vid"])).unlink()  # the first one tells nothing
    with pytest.raises(DatasetError, match="two --video-features seem to be in the wrong order") as caught:
        case.run(video_features=swapped, skip_bad=skip_bad)
    assert not listed(caught.value) and len(str(caught.value).splitlines()) == 4
    assert f"--video-features {swapped[1]} --video-features {swapped[0]}" in (caught.value.fix or "")


def test_another_width_in_the_right_order_is_no_wrong_order(case: TinyCase) -> None:
    every(case, "clip_features", lambda path: np.savez(path, features=np.ones((2, 7), np.float32)))
    with pytest.raises(BadSamplesError, match="is 7 wide; the model takes 2"):
        case.run()


def test_a_file_without_a_recipe_says_so_and_inspect_does_not_recommend_a_run(
    case: TinyCase, capsys: pytest.CaptureFixture[str]
) -> None:
    # The widths of inputs under gatescope's own names are compared with the recipe: these have other names.
    inputs = tuple(replace(tensor, name=f"my_{tensor.name}") for tensor in case.manifest.inputs)
    bare = replace(case.manifest, preprocessing=Preprocessing.unknown("unknown", 75), inputs=inputs)
    with pytest.raises(DatasetError, match="no recipe for datasets"):
        FeatureFolders.find(bare, case.data.root)
    model = onnx.load(case.model)
    for value in model.graph.input:
        value.name = f"my_{value.name}"
    for node in model.graph.node:
        node.input[:] = [f"my_{name}" if name in case.manifest.input_names else name for name in node.input]
    write_manifest_onnx(model, bare)
    onnx.save(model, case.model)
    with pytest.raises(DatasetError, match="no recipe for datasets") as caught:
        case.run()
    assert not listed(caught.value) and "GateSession.run" in (caught.value.fix or "")
    main(["inspect", str(case.model)])
    told = capsys.readouterr().out
    assert "no recipe for datasets" in told and "gatescope run" not in told


# Lines.


def lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


LINES: dict[str, tuple[Callable[[Path], object], Callable[[int], Any], str]] = {
    "annotations lack a key": (
        read_annotations,
        lambda i: {"qid": i, "query": "q", "vid": "v"},
        "136 lines (1, 2, 3, …): lacks duration",
    ),
    "annotations with bad durations": (
        read_annotations,
        lambda i: {"qid": i, "query": "q", "vid": "v", "duration": -i},
        "136 lines (1, 2, 3, …): duration is …, not a positive number of seconds below 1e+09",
    ),
    "a gate log lacks a key": (
        lambda path: import_log(path, path.parent / "run"),
        lambda i: {"qid": i, "vid": "v", "gating_type": "clipwise"},
        "136 lines (1, 2, 3, …): lacks layer_gates",
    ),
    "ground truth": (
        read_ground_truth,
        lambda i: {"qid": i, "query": "q", "vid": "v", "duration": 9, "relevant_windows": [[i + 2, i]]},
        "136 lines (1 (qid 0), 2 (qid 1), 3 (qid 2), …): the window […, …] ends before it begins or is not "
        "finite",
    ),
    "predictions": (
        read_prediction_file,
        lambda i: {"qid": i, "pred_relevant_windows": [[i + 2, i, 0.5]]},
        "136 lines (1 (qid 0), 2 (qid 1), 3 (qid 2), …): the window […, …] ends before it begins",
    ),
}


@pytest.mark.parametrize(("read", "row", "said"), LINES.values(), ids=LINES.keys())
def test_a_cause_on_every_line_is_one_line(
    tmp_path: Path, read: Callable[[Path], object], row: Callable[[int], Any], said: str
) -> None:
    path = lines(tmp_path / "file.jsonl", [row(i) for i in range(136)])
    with pytest.raises(DatasetError) as caught:
        read(path)
    assert listed(caught.value) == [said]


@pytest.mark.parametrize("read", [read_prediction_file, read_predictions], ids=["evaluate", "verify"])
@pytest.mark.parametrize("layout", ["lines", "lines after a blank one"])
def test_annotations_given_as_predictions_are_recognised(
    tmp_path: Path, read: Callable[[Path], object], layout: str
) -> None:
    rows = [{"qid": i, "query": "q", "vid": "v", "duration": 9, "relevant_windows": []} for i in range(136)]
    path = lines(tmp_path / "annotations.jsonl", rows)
    if layout != "lines":
        path.write_text("\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(DatasetError, match="holds annotations, not predictions") as caught:
        read(path)
    assert not listed(caught.value) and "duration" in (caught.value.received or "")


def test_a_list_of_annotations_given_as_predictions_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps([{"qid": 1, "query": "q", "vid": "v", "duration": 9}]), encoding="utf-8")
    with pytest.raises(DatasetError, match="holds annotations, not predictions"):
        read_prediction_file(path)


@pytest.mark.parametrize("key", ["pred_relevant_windows", "pred_saliency_scores"])
def test_predictions_given_as_annotations_are_recognised(tmp_path: Path, key: str) -> None:
    rows = [{"qid": i, "query": "q", "vid": "v", key: []} for i in range(136)]
    with pytest.raises(DatasetError, match="holds predictions, not annotations") as caught:
        read_annotations(lines(tmp_path / "predictions.jsonl", rows))
    assert not listed(caught.value) and key in (caught.value.received or "")
