"""The peers compute what the reference computes, on data that a run can read."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gatescope.export import Choices, load_checkpoint
from gatescope.export.reading.facts import describe
from gatescope.export.reading.rebuild import rebuild
from gatescope.runtime import batches
from tests.golden.case import load_case
from tests.runtime.tiny_model import tiny_manifest

from . import __main__ as command
from . import cuda
from .dataset import make_dataset
from .peers.clean_eager import clean_eager, predict
from .peers.users_way import UsersModel, users_way
from .workload import as_tensors

PREDICTIONS = ("pred_logits", "pred_spans", "saliency_scores")


def test_the_users_own_way_and_the_clean_model_give_the_references_numbers(checkpoint) -> None:
    case = load_case("clipwise_padded")
    read = load_checkpoint(checkpoint(case.name))
    model = rebuild(describe(read, Choices(batching="reference")), read.weights)
    batch = as_tensors(case.inputs())
    with torch.no_grad():
        users, clean = UsersModel(model)(**batch), predict(model, **batch)
    expected = case.expected
    valid = case.inputs()["src_vid_mask"] > 0
    for i, name in enumerate(PREDICTIONS):
        where = valid if name == "saliency_scores" else ...
        np.testing.assert_allclose(users[name].numpy()[where], expected[name][where], atol=1e-4)
        np.testing.assert_allclose(clean[i].numpy()[where], expected[name][where], atol=1e-4)
    # What training alone needs is computed too: the other text's saliency, the earlier layers' moments.
    assert not torch.allclose(users["saliency_scores_neg"], users["saliency_scores"], atol=1e-2)
    layers = model.config.decoder_layers
    assert users["aux_spans"].shape == (layers - 1, *users["pred_spans"].shape)
    for way in (users_way, clean_eager):
        gates = way(model, batch)()
        for number, name in enumerate(("gate_attention", "gate_ffn")):
            stacked = np.stack([layer[number] for layer in gates], 1)
            seen = stacked.transpose(0, 2, 1, 3)[valid]
            np.testing.assert_allclose(seen, expected[name].transpose(0, 2, 1, 3)[valid], atol=1e-4)


@pytest.mark.parametrize("told", [True, False], ids=["widths told", "widths not told"])
def test_a_dataset_has_the_models_widths_and_links_for_most_samples(tmp_path: Path, told: bool) -> None:
    manifest = tiny_manifest(video_widths=(3, 2))
    recipe = manifest.preprocessing
    if not told:
        recipe = replace(recipe, video=tuple(replace(source, width=None) for source in recipe.video))
        manifest = replace(manifest, preprocessing=recipe)
    data = make_dataset(tmp_path, recipe, 5, distinct=2, clips=6, words=4)
    drawn = batches(manifest, data.annotations, features=data.root, batch_size=5)
    ((ids, batch),) = drawn
    assert len(ids) == 5
    assert {name: array.shape for name, array in batch.items() if "mask" not in name} == {
        "src_txt": (5, 4, 4),
        "src_vid": (5, 6, 7),
        "src_aud": (5, 6, 5),
    }
    np.testing.assert_array_equal(batch["src_vid"][0], batch["src_vid"][2])
    assert not np.array_equal(batch["src_vid"][0], batch["src_vid"][1])


def test_without_a_gpu_bench_cuda_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cuda, "gpu_name", lambda: "")
    monkeypatch.setattr(command, "use_own_kernels", lambda: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "cuda"])
    assert command.main() == 1
    told = capsys.readouterr()
    assert "NVIDIA GPU" in told.err
    assert told.out == ""


def test_an_output_in_no_folder_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "goals", "--output", str(tmp_path / "none" / "b.json")])
    assert command.main() == 2
    assert "not a folder" in capsys.readouterr().err
