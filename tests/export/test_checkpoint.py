"""Every layout of a checkpoint is read; everything else is refused by name, and nothing in it runs."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from gatescope.export import export_checkpoint, load_checkpoint
from gatescope.export.graph.archives import save_pt2
from gatescope.export.user.factory import load_into
from gatescope.runtime.errors import CheckpointError, UnsafeCheckpointError, WeightsMismatchError
from tests.export import small


def test_training_layout(tmp_path) -> None:
    read = load_checkpoint(small.save(tmp_path / "model_best.ckpt"))
    assert read.options["nheads"] == 8
    assert read.options_source == "opt"
    assert read["epoch"] == 1
    assert set(read["model"]) == set(small.weights())
    assert len(read.sha256) == 64


WRAPPERS = {
    "": "",
    "module.": "DataParallel",
    "_orig_mod.": "torch.compile",
    "module._orig_mod.": "compiled, then parallel",
    "_orig_mod.module.": "parallel, then compiled",
    "module.module.": "parallel twice",
    "model.": "Lightning",
    "model.module._orig_mod.": "all of them",
}


@pytest.mark.parametrize("key", ["model", "state_dict", None])
@pytest.mark.parametrize("prefix", WRAPPERS)
def test_layouts_and_the_names_of_wrappers(tmp_path, key, prefix) -> None:
    state = {
        name: small.weights()[name] for name in ("class_embed.bias", "fusion.fusion_layers.0.norm1.bias")
    }
    named = {prefix + name: value for name, value in state.items()}
    torch.save(named if key is None else {key: named}, tmp_path / "m.pth")
    read = load_checkpoint(tmp_path / "m.pth")
    assert list(read.weights) == list(state)
    assert torch.equal(read["model"]["class_embed.bias"], state["class_embed.bias"])
    assert read.options_source is None
    assert "".join(read.wrappers) == prefix
    # DataParallel's is everywhere; of the others people want to know.
    assert bool(read.notes) == (prefix not in ("", "module.")) and all(prefix in note for note in read.notes)


def test_averaged_models_of_torch(tmp_path) -> None:
    linear = torch.nn.Linear(2, 3)
    averaged = torch.optim.swa_utils.AveragedModel(linear)
    averaged.update_parameters(linear)
    torch.save({"model": averaged.state_dict()}, tmp_path / "m.pth")
    read = load_checkpoint(tmp_path / "m.pth")
    assert list(read.weights) == ["weight", "bias"]
    assert any("averages" in note and "1 states" in note for note in read.notes)


@pytest.mark.parametrize("name", ["ema", "model_ema", "ema_state_dict"])
def test_averages_beside_the_weights_and_alone(tmp_path, name) -> None:
    torch.save({"model": {"a": torch.zeros(1)}, name: {"a": torch.ones(1)}}, tmp_path / "m.pth")
    read = load_checkpoint(tmp_path / "m.pth")
    assert read.weights["a"] == 0 and f"also holds averaged weights ('{name}')" in read.notes[0]
    torch.save({name: {"a": torch.ones(1)}, "epoch": 3}, tmp_path / "m.pth")
    read = load_checkpoint(tmp_path / "m.pth")
    assert read.weights["a"] == 1 and f"the averages under '{name}'" in read.notes[0]


def test_lightning_keeps_the_criterion_beside_the_model(tmp_path) -> None:
    saved = {"model.a": torch.zeros(1), "criterion.empty_weight": torch.ones(2)}
    torch.save({"state_dict": saved}, tmp_path / "m.pth")
    read = load_checkpoint(tmp_path / "m.pth")
    assert list(read.weights) == ["a"]
    assert any("criterion.*" in note for note in read.notes)


def test_compiled_parts_and_a_name_that_stands_for_two(tmp_path) -> None:
    torch.save({"a._orig_mod.b": torch.zeros(1), "c": torch.ones(1)}, tmp_path / "m.pth")
    assert list(load_checkpoint(tmp_path / "m.pth").weights) == ["a.b", "c"]
    torch.save({"a._orig_mod.b": torch.zeros(1), "a.b": torch.ones(1)}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match="two parameters of one name"):
        load_checkpoint(tmp_path / "m.pth")


def test_a_prefix_that_only_some_carry_is_a_name(tmp_path) -> None:
    torch.save({"model.a": torch.zeros(1), "b": torch.ones(1)}, tmp_path / "m.pth")
    assert list(load_checkpoint(tmp_path / "m.pth").weights) == ["model.a", "b"]


def test_own_code_whose_names_begin_like_a_wrapper_gets_them_back() -> None:
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.Linear(1, 1)

    own, weights = Own(), {"weight": torch.ones(1, 1), "bias": torch.ones(1)}
    load_into(own, weights, ("module.", "model."))
    assert own.model.weight == 1
    load_into(torch.nn.Linear(1, 1), weights, ("module.", "model."))


def test_what_is_no_checkpoint_is_said_by_name(tmp_path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}", encoding="utf-8")
    cases = {
        run: ("is a run folder", "gatescope analyze"),
        tmp_path / "opt.json": ("the options of a training run", "in the same folder"),
        tmp_path / "best_hl_val_preds.jsonl": ("predictions", "--verify"),
        tmp_path / "val.jsonl": ("annotations", "--annotations"),
        tmp_path / "m.onnx": ("is an exported model, not a checkpoint", "it was exported from"),
        tmp_path / "m.pt2": ("is an exported model, not a checkpoint", "it was exported from"),
    }
    (tmp_path / "opt.json").write_text(json.dumps(small.OPTIONS, indent=1), encoding="utf-8")
    (tmp_path / "best_hl_val_preds.jsonl").write_text(
        '{"qid": 1, "query": "a", "pred_relevant_windows": []}\n{}', encoding="utf-8"
    )
    (tmp_path / "val.jsonl").write_text('{"qid": 1, "query": "a", "vid": "b"}\n', encoding="utf-8")
    (tmp_path / "m.onnx").write_bytes(b"\x08\x0a\x12\x07pytorch")
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
        archive.writestr("m/archive_format", "pt2")
    for path, wanted in cases.items():
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(path)
        assert all(text in str(caught.value) for text in wanted), str(caught.value)
        assert "torch says" not in str(caught.value)


def test_options_beside_the_file(tmp_path) -> None:
    torch.save({"model": small.weights()}, tmp_path / "m.pth")
    (tmp_path / "opt.json").write_text(json.dumps(small.OPTIONS), encoding="utf-8")
    read = load_checkpoint(tmp_path / "m.pth")
    assert read.options_source == "opt.json"
    assert read.options["gating_type"] == "clipwise"


def test_options_inside_win_over_those_beside(tmp_path) -> None:
    small.save(tmp_path / "m.pth", nheads=4)
    (tmp_path / "opt.json").write_text(json.dumps(small.OPTIONS), encoding="utf-8")
    assert load_checkpoint(tmp_path / "m.pth").options["nheads"] == 4


def test_half_precision_weights_become_float32(tmp_path) -> None:
    torch.save({"model": {k: v.half() for k, v in small.weights().items()}}, tmp_path / "m.pth")
    assert {v.dtype for v in load_checkpoint(tmp_path / "m.pth").weights.values()} == {torch.float32}


class Evil:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("legacy", [True, False])
def test_forbidden_global_is_named_and_not_executed(tmp_path, legacy) -> None:
    mark = tmp_path / "executed"
    torch.save(
        {"model": small.weights(), "opt": Evil(f"touch {mark}")},
        tmp_path / "m.pth",
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(UnsafeCheckpointError, match=r"system") as caught:
        load_checkpoint(tmp_path / "m.pth")
    assert not mark.exists()
    assert "not executed" in str(caught.value) or "nothing in it was executed" in str(caught.value)


def test_plain_pickle_with_a_forbidden_global(tmp_path) -> None:
    mark = tmp_path / "executed"
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Evil(f"touch {mark}")))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "m.pkl")
    assert not mark.exists()


def whole(path: Path) -> bytes:
    return small.save(path / "whole.pth").read_bytes()


BROKEN = {
    "empty": lambda path: b"",
    "random": lambda path: os.urandom(4096),
    "text": lambda path: b"this is not a checkpoint",
    "truncated in half": lambda path: whole(path)[: len(whole(path)) // 2],
    "truncated to its beginning": lambda path: whole(path)[:5000],
    "truncated by a byte": lambda path: whole(path)[:-1],
    "first kilobyte only": lambda path: whole(path)[:1024],
    "html page": lambda path: b"<html><body>404</body></html>",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_refused(tmp_path, kind) -> None:
    (tmp_path / "m.pth").write_bytes(BROKEN[kind](tmp_path))
    with pytest.raises(CheckpointError, match=r"m\.pth"):
        load_checkpoint(tmp_path / "m.pth")


def test_no_file_and_a_folder(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="no file"):
        load_checkpoint(tmp_path / "absent.pth")
    small.save(tmp_path / "model_best.ckpt")
    with pytest.raises(CheckpointError, match=r"model_best\.ckpt"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"model": {}},
        {"epoch": 3},
        {"model": {"a": "text"}},
        {},
        torch.zeros(3),
        argparse.Namespace(a=1),
    ],
    ids=["list", "empty model", "no model", "text weights", "empty dict", "tensor", "namespace"],
)
def test_files_without_a_state_dict(tmp_path, content) -> None:
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match="state dict"):
        load_checkpoint(tmp_path / "m.pth")


def test_zip_that_is_no_checkpoint(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize("text", ["{not json", "[1]", "\xff"])
def test_options_file_that_cannot_be_read(tmp_path, text) -> None:
    torch.save({"model": small.weights()}, tmp_path / "m.pth")
    (tmp_path / "opt.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"opt\.json"):
        load_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("meta", lambda value: value.to("meta")),
        ("sparse", lambda value: value.to_sparse()),
        ("complex", lambda value: value.to(torch.complex64)),
    ],
)
def test_parameters_that_are_not_dense_real_numbers(tmp_path, kind, change) -> None:
    state = {name: change(value) for name, value in small.weights().items()}
    with pytest.raises(CheckpointError, match="dense real numbers") as caught:
        load_checkpoint(small.save(tmp_path / "m.ckpt", state))
    assert kind in str(caught.value)


def test_parameters_of_whole_numbers_do_not_fit(tmp_path) -> None:
    path = small.save(tmp_path / "m.ckpt", {name: value.int() for name, value in small.weights().items()})
    with pytest.raises(WeightsMismatchError, match="of whole numbers"):
        export_checkpoint(path, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_pt2_on_a_full_disk_is_an_error_and_not_the_end_of_the_process(tmp_path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))

    class NoManifest:
        def to_json(self) -> str:
            return "{}"

    with pytest.raises(OSError, match="No space left"):
        save_pt2(program, NoManifest(), Path("/dev/full"))  # type: ignore[arg-type]


@pytest.mark.parametrize("output", [None, "m.onnx"])
def test_an_exported_model_is_not_exported_again(tmp_path, output: str | None) -> None:
    """Its own name would be the default output: what it is matters more than where it would be written."""
    (tmp_path / "m.onnx").write_bytes(b"\x08\x0a\x12\x07pytorch")
    with pytest.raises(CheckpointError, match="is an exported model, not a checkpoint"):
        export_checkpoint(tmp_path / "m.onnx", tmp_path / output if output else None)
