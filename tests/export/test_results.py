"""A training's results folder is all that has to be named: what is found in it, and what is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from gatescope.export.from_results import dataset_of, verification_of
from gatescope.export.reading.results import open_results
from gatescope.runtime.cli.main import main
from gatescope.runtime.data.dataset import FeatureSources
from gatescope.runtime.errors import CheckpointError, UsageError
from tests.export import small
from tests.export.training_folder import training_folder
from tests.golden.case import FOLDER, Case
from tests.undrawn import undrawn

SUBMISSION = FOLDER / "dataset_clipwise.jsonl"
RECORDED = {"eval_path": "data/val.jsonl", "train_path": "data/train.jsonl"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint that knows its annotations."""
    return small.save(tmp_path_factory.mktemp("saved") / "model.ckpt", **RECORDED)


@pytest.fixture
def project(tmp_path: Path, saved: Path) -> Path:
    """A training project: data, features one folder up, and results/run/ with all that training leaves."""
    root = tmp_path / "disk" / "project"
    training_folder(
        root / "results" / "run",
        dict.fromkeys(
            ("model_best.ckpt", "model_latest.ckpt", "model_e0001.ckpt", "model_e0010.ckpt"), saved
        ),
        predictions={"best_hl_val_preds.jsonl": SUBMISSION, "latest_hl_val_preds.jsonl": SUBMISSION},
        evaluated=1,
        files={"code.zip": b"PK", "model.py": b"", "best_hl_val_preds_nms_thd_0.7.jsonl": b""},
    )
    (root / "data").mkdir()
    (root / "data" / "val.jsonl").write_text(
        json.dumps({"qid": 1, "query": "a", "vid": "v", "duration": 10}) + "\n", encoding="utf-8"
    )
    for name in ("slow", "other", "pann", "text"):
        (tmp_path / "disk" / "features" / f"{name}_features").mkdir(parents=True)
    return root


def test_everything_is_found_from_the_folder_alone(project: Path) -> None:
    found = open_results(project / "results" / "run")
    assert found.checkpoint.name == "model_best.ckpt"
    assert [path.name for path in found.checkpoints] == [
        "model_best.ckpt",
        "model_latest.ckpt",
        "model_e0001.ckpt",
        "model_e0010.ckpt",
    ]
    assert found.annotations == project / "data" / "val.jsonl"
    folders = [*found.sources.video, found.sources.audio, found.sources.text]
    assert [path.name for path in folders if path] == [
        "slow_features",
        "other_features",
        "pann_features",
        "text_features",
    ]
    assert found.sources.complete and not found.missing
    assert found.left.predictions and found.left.predictions.name == "best_hl_val_preds.jsonl"
    assert found.left.metrics and found.left.metrics.name == "best_hl_val_preds_metrics.json"
    assert found.code and found.code.name == "code.zip"
    told = "\n".join(found.said)
    for name in (
        "model_best.ckpt, epoch 1",
        "model_e0010.ckpt",
        "val.jsonl",
        "best_hl_val_preds",
        "code.zip",
    ):
        assert name in told


def test_a_checkpoint_in_the_folder_stands_for_it(project: Path) -> None:
    found = open_results(project / "results" / "run" / "model_latest.ckpt")
    assert found.checkpoint.name == "model_latest.ckpt"
    assert found.left.predictions and found.left.predictions.name == "latest_hl_val_preds.jsonl"


def test_another_epochs_predictions_are_not_taken(project: Path) -> None:
    folder = project / "results" / "run"
    assert open_results(folder, checkpoint="model_e0010.ckpt").left.predictions is None
    log = folder / "eval.log.txt"
    log.write_text(log.read_text(encoding="utf-8") + "x [Epoch] 009 [Loss]", encoding="utf-8")
    latest = open_results(folder, checkpoint="model_latest.ckpt")
    assert latest.left.predictions is None and "epoch 9" in latest.left.said
    assert open_results(folder).left.predictions is not None


def test_a_submission_without_a_state_is_the_bests(tmp_path: Path, saved: Path) -> None:
    folder = training_folder(
        tmp_path / "run",
        dict.fromkeys(("model_best.ckpt", "model_latest.ckpt"), saved),
        predictions={"hl_val_submission.jsonl": SUBMISSION},
    )
    assert open_results(folder).left.predictions == folder / "hl_val_submission.jsonl"
    assert open_results(folder, checkpoint="model_latest.ckpt").left.predictions is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut"], ids=["empty", "truncated"])
def test_a_broken_best_is_an_error_that_names_the_others(project: Path, content: bytes, capsys) -> None:
    folder = project / "results" / "run"
    (folder / "model_best.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError) as raised:
        open_results(folder)
    assert "--checkpoint model_latest.ckpt" in str(raised.value) and "model_e0001.ckpt" in str(raised.value)
    assert open_results(folder, checkpoint="model_latest.ckpt").checkpoint.name == "model_latest.ckpt"
    assert main(["report", str(folder), "--output", str(project / "out")]) == 1
    assert "--checkpoint model_latest.ckpt" in capsys.readouterr().err
    assert not (project / "out").exists()


def test_folders_that_are_not_results(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(CheckpointError, match="no folder"):
        open_results(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        open_results(tmp_path)
    training_folder(tmp_path / "run", {"model_best.ckpt": saved})
    with pytest.raises(CheckpointError, match=r"no checkpoint model_e0001\.ckpt"):
        open_results(tmp_path / "run", checkpoint="model_e0001.ckpt")


def test_paths_of_another_machine_are_found_by_their_last_parts(project: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "run"
    shutil.copytree(project / "results" / "run", moved)
    found = open_results(moved)
    assert found.annotations is None and not found.sources.complete
    assert set(found.missing) == {"eval_path", "v_feat_dirs", "a_feat_dir", "t_feat_dir"}
    with pytest.raises(UsageError, match=r"--annotations FILE, or --root"):
        dataset_of(found)
    with pytest.raises(UsageError, match=r"--features ROOT"):
        dataset_of(open_results(moved, annotations=project / "data" / "val.jsonl"))
    rooted = open_results(moved, root=tmp_path / "disk" / "project")
    assert rooted.annotations == project / "data" / "val.jsonl"
    features = FeatureSources(tmp_path / "disk" / "features")
    assert open_results(moved, sources=features).sources.complete
    assert open_results(moved, root=tmp_path / "disk").sources.complete


def test_what_the_user_names_overrides_the_record(project: Path, tmp_path: Path) -> None:
    given = FeatureSources(video=(tmp_path / "a", tmp_path / "b"), audio=tmp_path / "c")
    other = tmp_path / "other.jsonl"
    found = open_results(project / "results" / "run", sources=given, annotations=other)
    assert found.annotations == other
    assert found.sources.video == given.video and found.sources.audio == given.audio
    assert found.sources.text and found.sources.text.name == "text_features"


def test_relative_paths_are_looked_for_from_here_too(project: Path, monkeypatch, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "run"
    shutil.copytree(project / "results" / "run", moved)
    monkeypatch.chdir(project)
    found = open_results(moved)
    assert found.annotations and found.annotations.samefile(project / "data" / "val.jsonl")
    assert found.sources.complete


def test_predictions_of_another_split_do_not_apply(project: Path) -> None:
    request, said = verification_of(open_results(project / "results" / "run"))
    assert request is None
    assert "does not apply" in said and "another split" in said


def test_inspect_names_what_the_folder_holds(project: Path, capsys) -> None:
    folder = project / "results" / "run"
    assert main(["inspect", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "results folder: AVIGATEFusionCustom" in told and f"gatescope report {folder}" in told
    assert main(["inspect", str(folder), "--checkpoint", "model_e0010.ckpt", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kind"] == "results" and document["checkpoint"].endswith("model_e0010.ckpt")
    assert document["predictions"] is None and document["code"].endswith("code.zip")
    assert main(["inspect", str(folder / "opt.json"), "--checkpoint", "x"]) != 0
    (folder / "model_best.ckpt").write_bytes(b"")
    capsys.readouterr()
    assert main(["inspect", str(folder)]) == 1
    assert "model_latest.ckpt (also there: model_e0001.ckpt" in capsys.readouterr().out


def test_a_folder_without_options_asks_for_what_they_would_say(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    torch.save(small.weights(), folder / "model_best.ckpt")
    found = open_results(folder)
    assert found.options == {} and not found.missing and "options: none found" in found.said
    with pytest.raises(UsageError, match="do not record them"):
        dataset_of(found)
    assert main(["report", str(folder), "--output", str(tmp_path / "out")]) == 2
    assert "give --annotations FILE" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert main(["inspect", str(folder)]) == 0
    assert "--annotations val.jsonl --features features/" in capsys.readouterr().out


def test_inspect_leads_to_the_code_that_trained_a_model_it_does_not_know(tmp_path: Path, capsys) -> None:
    state = {f"other.{name}": value for name, value in small.weights().items()}
    strange = small.save(tmp_path / "strange.ckpt", state, **RECORDED)
    folder = training_folder(tmp_path / "run", {"model_best.ckpt": strange}, files={"code.zip": b"PK"})
    assert main(["inspect", str(folder)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[-1].split()[:3] == ["gatescope", "report", str(folder)] and told[-1].endswith(" --code")


@pytest.mark.parametrize("command", ["export", "report"])
def test_nothing_named_is_bad_usage(command: str, capsys) -> None:
    assert main([command]) == 2
    assert "nothing says which model" in capsys.readouterr().err


@pytest.fixture
def pictureless() -> Iterator[None]:
    with undrawn():
        yield


@pytest.mark.slow
def test_one_argument_from_results_to_report(
    tmp_path: Path,
    checkpoint: Callable[[str], Path],
    dataset: tuple[Case, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pictureless: None,
) -> None:
    """The golden training: its model reproduces the predictions it left, found by itself."""
    folder = training_folder(
        tmp_path / "hl-video_tef-run",
        {"model_best.ckpt": checkpoint("dataset_clipwise")},
        predictions={"best_hl_val_preds.jsonl": SUBMISSION},
    )
    monkeypatch.chdir(tmp_path)
    root = str(dataset[1].parent)
    words = ["report", str(folder), "--root", root, "--annotations", str(dataset[1]), "--json"]
    assert main([*words, "--verify-batch-size", "1"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["output"] == "hl-video_tef-run-report"
    verified = document["manifest"]["certificate"]["verification"]
    assert verified["predictions"] == "best_hl_val_preds.jsonl" and verified["samples"] == 12
    assert "checkpoint: model_best.ckpt" in captured.err
    report = (tmp_path / document["files"][0]).read_text(encoding="utf-8")
    assert "best_hl_val_preds" in report
