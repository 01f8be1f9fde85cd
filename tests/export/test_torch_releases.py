"""What an export says of the installed PyTorch, whom it blames, and checkpoints of old releases."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
import torch

from gatescope.export import Choices, Variant, export_checkpoint, load_checkpoint
from gatescope.export.commands.export import describe_result
from gatescope.export.graph.archives import to_torchscript
from gatescope.export.graph.capture import capture
from gatescope.export.graph.variant import VariantGraph
from gatescope.export.reading.facts import describe
from gatescope.export.reading.rebuild import rebuild
from gatescope.runtime import read_manifest, torch_range
from gatescope.runtime.errors import ExportError
from tests.export import lab, small


def test_a_checkpoint_in_the_format_before_1_6_is_read(tmp_path) -> None:
    new = small.save(tmp_path / "new.ckpt")
    old = tmp_path / "old.ckpt"
    torch.save(torch.load(new, weights_only=False), old, _use_new_zipfile_serialization=False)
    assert not old.read_bytes().startswith(b"PK")
    read, same = load_checkpoint(old), load_checkpoint(new)
    assert read.options == same.options and read.options_source == same.options_source
    assert list(read.weights) == list(same.weights)
    assert all(torch.equal(read.weights[name], value) for name, value in same.weights.items())


def test_a_newer_torch_is_said_once_in_output_and_file(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch_range, "version", lambda package: "7.1.0")
    result = export_checkpoint(small.save(tmp_path / "m.ckpt"), tmp_path / "m.ts")
    assert sum("torch 7.1.0 is newer" in warning for warning in read_manifest(result.path).warnings) == 1
    assert describe_result(result).count("torch 7.1.0 is newer") == 1


def own_model(tmp_path) -> torch.nn.Module:
    read = load_checkpoint(small.save(tmp_path / "m.ckpt"))
    return VariantGraph(rebuild(describe(read, Choices()), read.weights), Variant())


def users_model(tmp_path) -> torch.nn.Module:
    return lab.LabModel(argparse.Namespace(**lab.OPTIONS)).eval()


@pytest.mark.parametrize("by", ["captured", "traced"])
@pytest.mark.parametrize("model", [own_model, users_model])
def test_what_torch_cannot_do_is_blamed_on_whose_code_it_is(tmp_path, monkeypatch, model, by) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise ValueError("Constraints violated (clip)! For more information, run with TORCH_LOGS")

    monkeypatch.setattr(torch.export, "export", fail)
    monkeypatch.setattr(torch.jit, "trace", fail)
    tensors = {"src_vid": torch.zeros(2, 3, 12)}
    with pytest.raises(ExportError) as caught:
        if by == "captured":
            capture(model(tmp_path), tensors, {"src_vid": ("batch", "clip", 12)})
        else:
            to_torchscript(model(tmp_path), tensors)
    message = str(caught.value)
    ours = model is own_model
    assert ("gatescope's own model failed" in message and "fault of gatescope" in message) == ours
    assert ("that code fixes an axis" in message and "a forward pass that takes" in message) != ours
    assert "Constraints violated (clip)" in message
