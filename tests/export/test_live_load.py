"""A checkpoint as a live model with tracked gates, called the way the training code calls its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gatescope.analysis import GateAnalyzer
from gatescope.export import load_legacy_model_with_gate_tracking
from gatescope.runtime.errors import (
    CheckpointError,
    DeviceError,
    InputError,
    UnknownFactError,
    UsageError,
    WeightsMismatchError,
)
from gatescope.runtime.tracking.tracker import GateTrackingWarning
from tests.golden.case import CHANNEL_STEP, load_case

from .small import save

ATOL = 5e-5


def batch_of(samples: int = 1, clips: int = 5, words: int = 3, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    batch: dict[str, Any] = {"qid": 100 + seed}
    for name, length, width in (("src_txt", words, 6), ("src_vid", clips, 12), ("src_aud", clips, 9)):
        batch[name] = random.standard_normal((samples, length, width)).astype(np.float32)
        batch[f"{name}_mask"] = np.ones((samples, length), np.float32)
    return batch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(tmp_path / "model_best.ckpt")


def test_method_1_of_the_old_guide(path: Path, tmp_path: Path) -> None:
    dataloader = [batch_of(seed=seed) for seed in range(3)]

    model = load_legacy_model_with_gate_tracking(model_path=path, gating_type="clipwise")
    model.avigate_fusion.enable_gate_tracking()
    for batch in dataloader:
        model.avigate_fusion.set_current_sample_id(f"sample_{batch['qid']}")
        outputs = model(batch)
    analyzer = GateAnalyzer(model.avigate_fusion)
    analyzer.analyze_all_samples(tmp_path / "legacy_analysis_results")

    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "pred_logits": (1, 3, 2),
        "pred_spans": (1, 3, 2),
        "saliency_scores": (1, 5),
    }
    found = json.loads(
        (tmp_path / "legacy_analysis_results" / "overall_statistics.json").read_text(encoding="utf-8")
    )
    assert (found["total_samples"], found["gating_type"], found["num_layers"]) == (3, "clipwise", 1)
    assert list(model.avigate_fusion.gate_history) == ["sample_100", "sample_101", "sample_102"]
    assert model.avigate_fusion.gate_history["sample_101"]["attention_gates"][0].shape == (1, 5, 1)
    values = [np.ravel(one["ffn_gates"][0]) for one in model.avigate_fusion.gate_history.values()]
    assert found["ffn_gates"]["mean"] == pytest.approx(np.concatenate(values).mean(), rel=1e-6)
    # The API section of the guide.
    stats = model.avigate_fusion.get_gate_statistics("sample_101")
    assert stats["sample_101"]["attention_stats"][0]["shape"] == [1, 5, 1]
    model.avigate_fusion.save_gate_analysis(tmp_path / "out", "sample_101")
    model.avigate_fusion.compare_samples_gates(["sample_100", "sample_102"], tmp_path / "compared")
    assert {file.name for folder in ("out", "compared") for file in (tmp_path / folder).iterdir()} == {
        "gate_statistics_sample_101.json",
        "gate_analysis_sample_101.png",
        "gate_comparison.png",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["clipwise", "global_padded", "elementwise", "sigmoid_film_elementwise", "base_avigate", "ssm"]
)
def test_the_reference_s_own_numbers(name: str, checkpoint: Callable[[str], Path]) -> None:
    case = load_case(name)
    with pytest.warns() if name == "global_padded" else _no_warning():
        model = load_legacy_model_with_gate_tracking(checkpoint(name), device="cpu")
    fusion = model.avigate_fusion
    fusion.enable_gate_tracking()
    fusion.set_current_sample_id("batch")
    with torch.no_grad():
        outputs = model(**case.inputs())
    want = case.expected
    for kind in ("attention", "ffn"):
        got = np.stack(fusion.gate_history["batch"][f"{kind}_gates"], axis=1)
        step = CHANNEL_STEP if got.shape[-1] > 1 else 1
        mask = case.inputs()["src_vid_mask"].astype(bool)
        error = np.abs(got[..., ::step] - want[f"gate_{kind}"])
        if got.shape[2] > 1:
            error = error.transpose(0, 2, 1, 3)[mask]
        assert error.max() < ATOL, kind
    error = np.abs(outputs["pred_spans"].numpy() - want["pred_spans"])
    assert error.max() < ATOL
    run = fusion.as_run()
    assert run.manifest.family == model_family(name)
    assert run.samples.collect()["clips"].to_list() == case.clips
    assert run.manifest.preprocessing.video_width == case.options["v_feat_dim"]


def model_family(name: str) -> str:
    return {"sigmoid_film_elementwise": "sigmoid", "base_avigate": "base_avigate", "ssm": "ssm"}.get(
        name, "avigate_custom"
    )


def _no_warning() -> Any:
    import contextlib

    return contextlib.nullcontext()


def test_keywords_and_a_dict_give_the_same_with_tensors_and_arrays(path: Path) -> None:
    model = load_legacy_model_with_gate_tracking(path, device="cpu")
    batch = batch_of(2)
    assert not model.training
    first = model(batch)
    inputs = {name: torch.from_numpy(value) for name, value in batch.items() if name != "qid"}
    inputs["src_vid_mask"] = inputs["src_vid_mask"].bool()
    second = model(**inputs)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_under_autocast(path: Path) -> None:
    model = load_legacy_model_with_gate_tracking(path, device="cpu")
    model.avigate_fusion.enable_gate_tracking()
    model.avigate_fusion.set_current_sample_id("a")
    with torch.autocast("cpu", torch.bfloat16):
        model(batch_of())
    gates = model.avigate_fusion.gate_history["a"]["ffn_gates"][0]
    assert gates.dtype == np.float32
    assert np.abs(gates).max() > 0


def test_what_the_checkpoint_does_not_record_can_be_given(tmp_path: Path) -> None:
    path = save(tmp_path / "m.ckpt", nheads=...)
    with pytest.raises(UnknownFactError, match="heads"):
        load_legacy_model_with_gate_tracking(path)
    assert load_legacy_model_with_gate_tracking(path, heads=8)(batch_of())["pred_logits"].shape == (1, 3, 2)


def test_warnings_about_the_checkpoint_reach_the_caller(path: Path) -> None:
    with pytest.warns(GateTrackingWarning, match="differs from training"):
        model = load_legacy_model_with_gate_tracking(path, "global", attention_activation="tanh")
    model.avigate_fusion.enable_gate_tracking()
    model.avigate_fusion.set_current_sample_id("a")
    model(batch_of())
    assert model.avigate_fusion.gate_history["a"]["ffn_gates"][0].shape == (1, 1, 1)
    assert any("differs from training" in text for text in model.avigate_fusion.as_run().manifest.warnings)


def test_a_gating_type_that_the_weights_contradict(path: Path) -> None:
    with pytest.raises(WeightsMismatchError, match="contradicts the weights"):
        load_legacy_model_with_gate_tracking(path, "elementwise")


def test_bad_files_and_devices(tmp_path: Path, path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no file"):
        load_legacy_model_with_gate_tracking(tmp_path / "missing.pth")
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        load_legacy_model_with_gate_tracking(path, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="cannot use CUDA"):
            load_legacy_model_with_gate_tracking(path, device="cuda")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"src_aud": None}, "src_aud is not an array"),
        ({"src_aud": np.ones((1, 4, 9), np.float32)}, "src_aud does not fit its mask"),
        ({"src_vid": np.ones((5, 12), np.float32)}, "src_vid does not fit its mask"),
        ({"src_vid": np.ones((1, 5, 10), np.float32)}, "src_vid .* do not fit the model"),
        (
            {"src_aud": np.ones((1, 4, 9), np.float32), "src_aud_mask": np.ones((1, 4), np.float32)},
            "different lengths",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_named(path: Path, change: dict[str, Any], message: str) -> None:
    model = load_legacy_model_with_gate_tracking(path, device="cpu")
    with pytest.raises(InputError, match=message):
        model(batch_of() | change)


def test_inputs_that_are_missing_are_named(path: Path) -> None:
    model = load_legacy_model_with_gate_tracking(path, device="cpu")
    batch = batch_of()
    del batch["src_txt_mask"]
    with pytest.raises(InputError, match="lacks src_txt_mask"):
        model(batch)
    with pytest.raises(InputError, match="a dict of the six inputs"):
        model([1, 2])
