"""Gates by epoch: every checkpoint of a results folder on the same videos, whatever lies in the folder."""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gatescope.export import load_checkpoint
from gatescope.export.epochs.logs import read_training_log
from gatescope.export.epochs.snapshots import RebuiltModel
from gatescope.export.epochs.turns import states_of, turns_of
from gatescope.export.families.choices import Choices
from gatescope.export.reading.facts import describe
from gatescope.export.reading.rebuild import rebuild
from gatescope.runtime import batches
from gatescope.runtime.cli.main import main
from tests.golden.case import Case
from tests.undrawn import undrawn

from ..runtime.tiny_dataset import tiny_dataset
from ..runtime.tiny_model import tiny_manifest
from . import lab, small

FFN = "fusion.fusion_layers.0.gating_function.mlp_ffn.2"
#: The bias of the FFN gate's last layer by epoch, whose weights are 0: the gate is its tanh everywhere.
BIASES = {4: 0.01, 9: 1.0, 14: -0.02, 19: 3.0}
#: What gates are computed from.
ALONE = ("src_vid", "src_vid_mask", "src_aud", "src_aud_mask")
METRIC = "MR-full-mAP"


@pytest.fixture(scope="module")
def options(dataset: tuple[Case, Path]) -> dict[str, Any]:
    case, annotations = dataset
    names = ("v_feat_dim", "a_feat_dim", "t_feat_dim", "v_feat_dirs", "a_feat_dir", "t_feat_dir")
    return {name: case.options[name] for name in names} | {"eval_path": str(annotations)}


def save(path: Path, options: dict[str, Any], epoch: int | None, bias: float, **changes: Any) -> Path:
    """A checkpoint of ``epoch`` whose FFN gate is tanh(``bias``); ``changes``: of the model."""
    widths = dict(zip(("video_width", "audio_width", "text_width"), options.values(), strict=False))
    state = small.weights(**widths, **changes)
    state[f"{FFN}.weight"].zero_()
    state[f"{FFN}.bias"].fill_(bias)
    small.save(path, state, **options)
    content = torch.load(path, weights_only=False)
    content.pop("epoch")
    if epoch is not None:
        content["epoch"] = epoch
    if math.isnan(bias):
        content["model"]["class_embed.bias"].fill_(math.nan)
    torch.save(content, path)
    return path


def evaluated(epoch: int, value: float) -> str:
    metrics = json.dumps({"brief": {"MR-full-R1@0.5": 1.0, METRIC: value}, "full": {}})
    return f"2025_01_01_00_00_00 [Epoch] {epoch:03d} [Loss] loss_span 0.1 [Metrics] {metrics}\n"


def trained(epoch: int, loss: float) -> str:
    return f"2025_01_01_00_00_00 [Epoch] {epoch + 1:03d} [Loss] loss_span 0.1 loss_overall {loss:.4f}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, options: dict[str, Any]) -> Path:
    """A training's folder with everything in it that may go wrong."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    folder.mkdir()
    for epoch, bias in BIASES.items():
        save(folder / f"model_e{epoch:04d}.ckpt", options, epoch, bias)
    save(folder / "model_best.ckpt", options, 9, BIASES[9])
    save(folder / "model_latest.ckpt", options, 24, math.nan)
    save(folder / "model_e0029.ckpt", options, 29, 0.5, fusion_layers=2)
    (folder / "model_e0034.ckpt").write_bytes((folder / "model_best.ckpt").read_bytes()[:5000])
    (folder / "model_e0039.ckpt").touch()
    save(folder / "somebody.ckpt", options, None, 0.5)
    (folder / "eval.log.txt").write_text(
        evaluated(4, 5.5) + evaluated(9, 3.0) + "nonsense\n" + evaluated(9, 8.25) + evaluated(14, 7.0)[:-40],
        encoding="utf-8",
    )
    (folder / "train.log.txt").write_text(
        "".join(trained(epoch, 10 - epoch / 4) for epoch in range(20)) + "Early Stop at epoch 20",
        encoding="utf-8",
    )
    (folder / "tensorboard_log").mkdir()
    (folder / "tensorboard_log" / "events.out.tfevents.1").write_bytes(b"\x18\0\0")
    return folder


@pytest.fixture(autouse=True)
def _undrawn() -> Iterator[None]:
    with undrawn():
        yield


def epochs(folder: Path, dataset: tuple[Case, Path], output: Path, *more: str) -> int:
    root = dataset[1].parent
    return main(["epochs", str(folder), "--features", str(root), "--output", str(output), *more])


@pytest.fixture(scope="module")
def found(folder: Path, dataset: tuple[Case, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the command printed as JSON, and the rows of its CSV."""
    output = tmp_path_factory.mktemp("epochs")
    with undrawn(), pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr("builtins.print", lambda *words, file=None, **_: file or printed.extend(words))
        assert epochs(folder, dataset, output, "--json") == 0
    with (output / "epochs.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert (output / "epochs.png").read_bytes()
    return json.loads(printed[-1]), rows


def of_ffn(document: Any) -> dict[int, dict[str, Any]]:
    return {row["epoch"]: row for row in document["rows"] if row["gate"] == "ffn"}


def test_every_epoch_has_its_gates_next_to_what_was_logged(found: Any) -> None:
    document, rows = found
    ffn = of_ffn(document)
    assert list(ffn) == [4, 9, 14, 19, 24]
    for epoch, bias in BIASES.items():
        value = math.tanh(bias)
        assert ffn[epoch]["mean"] == pytest.approx(value, abs=1e-6)
        assert ffn[epoch]["mean_abs"] == pytest.approx(abs(value), abs=1e-6)
        assert ffn[epoch]["share_near_zero"] == float(abs(value) < 0.05)
        assert ffn[epoch]["share_saturated"] == float(abs(value) >= 0.95)
        assert ffn[epoch]["train_loss"] == pytest.approx(10 - epoch / 4)
    assert document["metric"] == METRIC
    assert [ffn[epoch]["metric"] for epoch in ffn] == [5.5, 8.25, None, None, None]
    assert [row[METRIC] for row in rows if row["gate"] == "ffn"] == ["5.5", "8.25", "", "", ""]
    assert len(rows) == len(document["rows"]) == 5 * 2


def test_statistics_are_those_of_the_valid_clips(
    found: Any, folder: Path, dataset: tuple[Case, Path]
) -> None:
    read = load_checkpoint(folder / "model_e0004.ckpt")
    model = rebuild(describe(read, Choices()), read.weights)
    _, annotations = dataset
    manifest = RebuiltModel(read, Choices()).manifest()
    values: dict[str, np.ndarray] = {}
    lines = [json.loads(line) for line in annotations.read_text(encoding="utf-8").splitlines()]
    video = {str(line["qid"]): line["vid"] for line in lines}
    for [qid], batch in batches(manifest, annotations, features=annotations.parent, batch_size=1):
        with torch.inference_mode():
            fused = model.fuse(*(torch.from_numpy(batch[name]) for name in ALONE))
        values[video[qid]] = fused.gates[0].numpy().ravel()
    gates = np.concatenate(list(values.values()))
    [row] = [one for one in found[0]["rows"] if (one["epoch"], one["gate"]) == (4, "attention")]
    assert found[0]["videos"] == len(values) > 1
    assert row["count"] == gates.size
    assert row["mean"] == pytest.approx(gates.mean(), abs=1e-6)
    assert row["mean_abs"] == pytest.approx(np.abs(gates).mean(), abs=1e-6)
    assert row["share_near_zero"] == pytest.approx((np.abs(gates) < 0.05).mean(), abs=1e-3)


def test_a_gate_that_opens_and_shuts_is_told(found: Any) -> None:
    turns = [(one["before"], one["at"], one["becomes"]) for one in found[0]["turns"] if one["gate"] == "ffn"]
    assert turns == [(4, 9, "open"), (9, 14, "shut"), (14, 19, "open")]
    states = [row["state"] for row in found[0]["rows"] if row["gate"] == "ffn"]
    assert states == ["shut", "open", "shut", "open", None]


def test_the_same_weights_are_shown_once_and_what_cannot_be_shown_says_why(found: Any) -> None:
    document, _ = found
    names = {row["epoch"]: row["checkpoint"] for row in document["rows"]}
    assert names[9] == "model_best.ckpt, model_e0009.ckpt"
    assert names[4] == "model_e0004.ckpt"
    skipped = {one["checkpoint"]: one["reason"] for one in document["skipped"]}
    assert list(skipped) == ["somebody.ckpt", "model_e0029.ckpt", "model_e0034.ckpt", "model_e0039.ckpt"]
    assert "of which epoch" in skipped["somebody.ckpt"]
    assert "another model than model_best.ckpt: fusion_layers 2, not 1" in skipped["model_e0029.ckpt"]
    assert "cannot be read" in skipped["model_e0034.ckpt"]
    assert "is empty" in skipped["model_e0039.ckpt"]


def test_weights_that_are_not_finite_are_reported_as_such(found: Any) -> None:
    row = of_ffn(found[0])[24]
    assert row["checkpoint"] == "model_latest.ckpt"
    assert row["note"] == "3 weights NaN or infinite"
    assert [row[name] for name in ("mean", "share_shut", "state")] == [None] * 3


def test_logs_that_were_cut_are_read_as_far_as_they_go(found: Any) -> None:
    warnings = "\n".join(found[0]["warnings"])
    assert "eval.log.txt: 2 lines could not be read" in warnings
    assert "train.log.txt: 1 line could not be read" in warnings


def test_the_text_says_it_for_people(
    folder: Path, dataset: tuple[Case, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert epochs(folder, dataset, tmp_path / "out", "--max-samples", "1") == 0
    out, told = capsys.readouterr()
    assert "gates on 1 video of val.jsonl" in out
    assert "layer 0 ffn opens between epochs 4 and 9: 100% to 0% of its values shut" in out
    assert "model_latest.ckpt: 3 weights NaN or infinite" in out
    assert "model_e0039.ckpt: " in out
    assert f"{METRIC}" in out and "8.25" in out
    assert "warning: eval.log.txt: 2 lines" in told


def test_without_any_copy_of_an_epoch_there_is_one_epoch_to_show(
    options: dict[str, Any], dataset: tuple[Case, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And where the best cannot be read, the next that can says which model it is."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model_best.ckpt").touch()
    save(tmp_path / "run" / "model_latest.ckpt", options, 7, 0.5)
    assert epochs(tmp_path / "run", dataset, tmp_path / "out") == 0
    out, told = capsys.readouterr()
    assert "model_best.ckpt: " in out and "is empty" in out
    assert "there is one epoch to show" in told
    assert "eval.log.txt is not there" in told


def test_what_no_epoch_can_be_read_of_is_an_error(
    folder: Path,
    options: dict[str, Any],
    dataset: tuple[Case, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "run").mkdir()
    save(tmp_path / "run" / "model_best.ckpt", options, None, 0.5)
    assert epochs(tmp_path / "run", dataset, tmp_path / "out") == 1
    assert "no checkpoint of" in capsys.readouterr().err
    (tmp_path / "run" / "model_best.ckpt").write_bytes(b"")
    assert epochs(tmp_path / "run", dataset, tmp_path / "out") == 1
    assert "is empty" in capsys.readouterr().err
    assert main(["epochs", "--checkpoint", str(folder / "model_best.ckpt")]) == 2
    assert "give the folder" in capsys.readouterr().err


def test_a_model_of_ones_own_code_runs_video_by_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tiny_dataset(tmp_path, tiny_manifest(video_widths=(30, 10), audio_width=20, text_width=16))
    folders = {
        "v_feat_dirs": ["slowfast_features", "clip_features"],
        "a_feat_dir": "pann_features",
        "t_feat_dir": "clip_text_features",
    }
    (tmp_path / "run").mkdir()
    for epoch, changes in ((1, {}), (3, {}), (5, {"elementwise": True})):
        path = lab.save(tmp_path / "run" / f"model_e{epoch:04d}.ckpt", **folders, **changes)
        content = torch.load(path, weights_only=False)
        content["epoch"] = epoch
        content["model"]["mixer.blocks.0.valve.two.2.bias"] += epoch
        torch.save(content, path)
    words = ["--annotations", str(data.annotations), "--features", str(tmp_path), "--json"]
    command = ["epochs", str(tmp_path / "run"), *words, "--output", str(tmp_path / "out")]
    assert main([*command, "--model", "tests.export.lab:build"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["checkpoint"] for one in document["skipped"]] == ["model_e0005.ckpt"]
    assert "another model than model_e0001.ckpt: parameter" in document["skipped"][0]["reason"]
    ffn = {(row["epoch"], row["layer"]): row for row in document["rows"] if row["gate"] == "ffn"}
    assert list(ffn) == [(epoch, layer) for epoch in (1, 3) for layer in range(3)]

    manifest = tiny_manifest(video_widths=(30, 10), audio_width=20, text_width=16)
    for epoch in (1, 3):
        model = lab.LabModel(argparse.Namespace(**lab.OPTIONS)).eval()
        model.load_state_dict(load_checkpoint(tmp_path / "run" / f"model_e{epoch:04d}.ckpt").weights)
        seen: dict[str, np.ndarray] = {}
        video = {str(row["qid"]): row["vid"] for row in data.rows}
        for [qid], batch in batches(manifest, data.annotations, features=tmp_path, batch_size=1):
            found: list[torch.Tensor] = []
            handle = model.mixer.blocks[0].valve.register_forward_hook(
                lambda module, inputs, output, found=found: found.append(output[1])
            )
            with torch.no_grad():
                model(**{name: torch.from_numpy(value) for name, value in batch.items()})
            handle.remove()
            seen.setdefault(str(video[qid]), found[0].numpy().ravel())
        gates = np.concatenate(list(seen.values()))
        assert ffn[epoch, 0]["count"] == gates.size
        assert ffn[epoch, 0]["mean"] == pytest.approx(gates.mean(), abs=1e-5)
    assert ffn[1, 0]["mean"] != pytest.approx(ffn[3, 0]["mean"], abs=1e-2)


def test_what_does_not_go_together_is_bad_usage(
    folder: Path, dataset: tuple[Case, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert epochs(folder, dataset, tmp_path, "--batching", "reference") == 2
    assert epochs(folder, dataset, tmp_path, "--model", "tests.export.lab:build", "--heads", "4") == 2
    assert "--heads together with --model" in capsys.readouterr().err


def test_states_do_not_sway_with_a_share_around_one_threshold() -> None:
    assert states_of([0.95, 0.88, 0.91, 0.6, 0.5, 0.7, 0.89, 0.9]) == [
        *["shut"] * 4,
        *["open"] * 3,
        "shut",
    ]
    assert states_of([0.7, 0.8, 0.3]) == ["between", "between", "open"]
    assert [(one.at, one.becomes) for one in turns_of(0, "ffn", [1, 2, 3], [0.7, 0.95, 0.1])] == [
        (2, "shut"),
        (3, "open"),
    ]


def test_a_tvsum_log_and_no_log(tmp_path: Path) -> None:
    log = read_training_log(tmp_path)
    assert (log.metrics, log.losses, log.main_metric) == ({}, {}, None)
    assert len(log.notes) == 2
    line = '2025 [Epoch] 004 [Loss]  [Metrics] {"brief": {"mAP": 0.81234, "bad": null}}\n'
    (tmp_path / "eval.log.txt").write_text(line, encoding="utf-8")
    (tmp_path / "train.log.txt").write_bytes(b"\xff\xfe [Epoch] 001 [Loss] loss_overall nan\n")
    log = read_training_log(tmp_path)
    assert (log.metrics, log.main_metric) == ({4: {"mAP": 0.81234}}, "mAP")
    assert log.losses == {}
