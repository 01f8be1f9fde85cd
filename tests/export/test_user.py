"""Models that users' own code builds: found, captured and compared without knowing their code."""

from __future__ import annotations

import argparse
import functools
import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from gatescope.export import Variant, export_model, load_checkpoint
from gatescope.export.user.export import export_with_factory
from gatescope.export.user.factory import build_model
from gatescope.runtime import GateSession, read_manifest
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import (
    ExportError,
    GatescopeError,
    UnknownFactError,
    UnsupportedModelError,
    UsageError,
    WeightsMismatchError,
)
from tests.export import lab

LAB = "tests.export.lab"


def batch(rng: np.random.Generator, clips=(5, 9, 2), words=(3, 1, 6)) -> dict[str, np.ndarray]:
    inputs: dict[str, np.ndarray] = {}
    for key, width, lengths in (("src_txt", 16, words), ("src_vid", 42, clips), ("src_aud", 22, clips)):
        features = np.zeros((len(lengths), max(lengths), width), np.float32)
        mask = np.zeros((len(lengths), max(lengths)), np.float32)
        for i, n in enumerate(lengths):
            features[i, :n] = rng.standard_normal((n, width))
            mask[i, :n] = 1
        inputs[key], inputs[f"{key}_mask"] = features, mask
    return inputs


def by_hand(path, inputs) -> dict[str, np.ndarray]:
    """The lab's own model, its gates read with hooks as its users would."""
    model = build_model(f"{LAB}:build", load_checkpoint(path))
    gates: list[tuple[torch.Tensor, torch.Tensor]] = []
    for block in model.mixer.blocks:
        block.valve.register_forward_hook(lambda module, args, output: gates.append(output))
    with torch.no_grad():
        outputs = model(**{name: torch.from_numpy(value) for name, value in inputs.items()})
    first = gates[: len(model.mixer.blocks)]
    return {
        "pred_logits": outputs["pred_logits"].numpy(),
        "pred_spans": outputs["pred_spans"].numpy(),
        "saliency_scores": outputs["saliency_scores"].numpy(),
        "gate_attention": torch.stack([one for one, _ in first], 1).numpy(),
        "gate_ffn": torch.stack([two for _, two in first], 1).numpy(),
    }


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Checkpoint and exported file of the lab's model with these options, each made once."""

    @functools.cache
    def export(suffix: str, variant: Variant | None = None, **options: bool) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp("lab")
        path = lab.save(folder / "m.ckpt", **options)
        return path, export_with_factory(path, f"{LAB}:build", folder / f"m{suffix}", variant=variant).path

    return export


@pytest.mark.parametrize("options", [{}, {"text_first": True}, {"elementwise": True}], ids=str)
@pytest.mark.parametrize("suffix", [".onnx", ".ts", ".pt2"])
def test_file_gives_what_the_labs_own_code_gives(exported, options, suffix) -> None:
    checkpoint, path = exported(suffix, **options)
    inputs = batch(np.random.default_rng(1))
    expected = by_hand(checkpoint, inputs)
    with GateSession(path, device="cpu") as session:
        assert session.manifest.certificate.compared_with == f"the model that {LAB}:build builds"
        got = session.run(inputs).raw
    assert list(got) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("text_first", [False, True])
def test_gates_graph_keeps_the_text_only_where_gates_depend_on_it(exported, text_first) -> None:
    _, path = exported(".onnx", Variant("gates"), text_first=text_first)
    manifest = read_manifest(path)
    assert manifest.depends_on_text is text_first
    assert ("src_txt" in manifest.input_names) is text_first
    graph = onnx.load(path).graph
    assert [value.name for value in graph.input] == list(manifest.input_names)
    assert [value.name for value in graph.output] == ["gate_attention", "gate_ffn"]


def test_second_pass_for_the_negative_pair_is_not_in_the_graph(exported) -> None:
    _, path = exported(".onnx", text_first=True)
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert operators.count("Tanh") == 3  # one a block, not two


def test_ranges_are_those_of_the_labs_activations(exported) -> None:
    manifest = read_manifest(exported(".onnx")[1])
    assert manifest.gate_range("attention") == pytest.approx((0.0, 0.8))
    assert manifest.gate_range("ffn") == (-1.0, 1.0)


def test_width_of_the_stream_is_that_of_the_model_and_not_of_its_gates(exported) -> None:
    with GateSession(exported(".ts")[1], device="cpu") as session:
        assert session.manifest.facts["hidden_dim"].value == 32
        session.tracker.enable_gate_tracking()
        session.tracker.set_current_sample_id("a")
        session.run(batch(np.random.default_rng(1)))
        assert session.tracker.gate_history["a"]["layer_info"][0]["hidden_dim"] == 32


def test_batching_is_said_as_it_is(exported) -> None:
    exact, mixed = (read_manifest(exported(".ts", **options)[1]) for options in ({}, {"batch_mean": True}))
    assert exact.batching == "exact"
    assert mixed.batching == "reference"
    assert any("depend on its batch" in warning for warning in mixed.warnings)


def test_summary_of_a_users_model(exported) -> None:
    checkpoint, path = exported(".onnx", Variant("summary"))
    inputs = batch(np.random.default_rng(2))
    gates = by_hand(checkpoint, inputs)["gate_ffn"]
    with GateSession(path, device="cpu") as session:
        summary = session.run(inputs).raw["summary_ffn"]
    for i, clips in enumerate((5, 9, 2)):
        valid = gates[i, :, :clips, 0].astype(np.float64)
        np.testing.assert_array_equal(summary[i, :, 0], clips)
        np.testing.assert_allclose(summary[i, :, 1], valid.sum(1), rtol=1e-5)
        np.testing.assert_allclose(summary[i, :, 4], valid.min(1), rtol=1e-5)
        np.testing.assert_allclose(summary[i, :, 5], valid.max(1), rtol=1e-5)
        counts = [np.histogram(row, 64, (-1, 1))[0] for row in valid]
        np.testing.assert_array_equal(summary[i, :, 8:], counts)


def test_live_model_from_python(tmp_path) -> None:
    options = argparse.Namespace(**lab.OPTIONS)
    torch.manual_seed(3)
    model = lab.LabModel(options).eval()
    inputs = {name: torch.from_numpy(value) for name, value in batch(np.random.default_rng(0)).items()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = export_model(model, inputs, tmp_path / "live.ts", options=vars(options))
    assert result.manifest.certificate.compared_with == "the live LabModel"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_live_model_in_training_mode_is_refused(tmp_path) -> None:
    model = lab.LabModel(argparse.Namespace(**lab.OPTIONS)).train()
    inputs = {name: torch.from_numpy(value) for name, value in batch(np.random.default_rng(0)).items()}
    with pytest.raises(ExportError, match="training mode"):
        export_model(model, inputs, tmp_path / "live.onnx")
    assert list(tmp_path.iterdir()) == []


def test_example_inputs_of_something_else(tmp_path) -> None:
    with pytest.raises(UsageError, match="moment retrieval"):
        export_model(torch.nn.Linear(2, 2), {"x": torch.zeros(2, 2)}, tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("factory", "error", "words"),
    [
        ("wilful", ExportError, [r"lab\.py:\d+", r"float\(out", "torch.where"]),
        ("failing", ExportError, ["the backbone was not downloaded"]),
        ("number", ExportError, ["did not return a model", "int"]),
        ("absent", UsageError, ["could not be imported", "absent"]),
    ],
)
def test_factories_that_do_not_work_are_named(tmp_path, factory, error, words) -> None:
    path = lab.save(tmp_path / "m.ckpt")
    with pytest.raises(error) as caught:
        export_with_factory(path, f"{LAB}:{factory}", tmp_path / "m.onnx")
    for word in words:
        assert re.search(word, str(caught.value)), (word, str(caught.value))
    assert [p.name for p in tmp_path.iterdir()] == ["m.ckpt"]


def test_code_for_a_gpu_is_exported_as_it_is_and_the_manifest_says_where_it_was_held_back(tmp_path) -> None:
    path = lab.save(tmp_path / "m.ckpt", lab.on_the_gpu)
    result = export_with_factory(path, f"{LAB}:on_the_gpu", tmp_path / "m.ts")
    assert result.manifest.forward is not None
    where = [re.sub(r"\d+", "N", one) for one in result.manifest.forward.adapted]
    assert sorted(where) == [
        f".cuda() left its tensor on the CPU ({LAB}, line N)",
        f".to('cuda:N') left its tensor on the CPU ({LAB}, line N)",
        f"device='cuda' was the CPU ({LAB}, line N)",
    ]
    with pytest.raises((AssertionError, RuntimeError)) if not torch.cuda.is_available() else nullcontext():
        torch.zeros(1).cuda()  # afterwards everything is as it was


@pytest.mark.parametrize("spec", ["lab", "lab:", ":build", "no.such.module:build"])
def test_specs_that_name_no_factory(tmp_path, spec) -> None:
    with pytest.raises(UsageError):
        export_with_factory(lab.save(tmp_path / "m.ckpt"), spec, tmp_path / "m.onnx")


def test_model_without_gates(tmp_path) -> None:
    path = lab.save(tmp_path / "m.ckpt", lab.gateless)
    with pytest.raises(UnsupportedModelError, match="no gated fusion"):
        export_with_factory(path, f"{LAB}:gateless", tmp_path / "m.onnx")


def test_weights_of_another_size_are_listed(tmp_path) -> None:
    path = lab.save(tmp_path / "m.ckpt")
    content = torch.load(path, weights_only=False)
    content["opt"].v_feat_dim = 50
    torch.save(content, path)
    with pytest.raises(WeightsMismatchError, match=r"video\.weight: \(32, 42\), expected \(32, 50\)"):
        export_with_factory(path, f"{LAB}:build", tmp_path / "m.onnx")


def test_options_without_widths(tmp_path) -> None:
    path = lab.save(tmp_path / "m.ckpt")
    content = torch.load(path, weights_only=False)
    width = content["opt"].v_feat_dim
    content["opt"].v_feat_dim = str(width)
    torch.save(content, path)
    with pytest.raises((UnknownFactError, ExportError)):
        export_with_factory(path, f"{LAB}:build", tmp_path / "m.onnx")


@pytest.mark.parametrize("variant", [Variant(contribution=True), Variant(overridable=True)])
def test_what_needs_our_own_model_says_so(tmp_path, variant) -> None:
    with pytest.raises(UsageError, match="gatescope rebuilds"):
        export_with_factory(
            lab.save(tmp_path / "m.ckpt"), f"{LAB}:build", tmp_path / "m.onnx", variant=variant
        )


def test_command(tmp_path, capsys) -> None:
    path = lab.save(tmp_path / "m.ckpt")
    output = ["--output", str(tmp_path / "m.ts")]
    assert main(["export", "--checkpoint", str(path), "--model", f"{LAB}:build", *output]) == 0
    assert f"the model that {LAB}:build builds" in capsys.readouterr().out
    assert main(["export", "--checkpoint", str(path), "--model", f"{LAB}:build", "--heads", "3"]) == 2
    assert "--heads together with --model" in capsys.readouterr().err


def test_gating_that_is_not_what_the_model_has(tmp_path) -> None:
    from gatescope.export import Choices

    with pytest.raises(GatescopeError, match="--gating global contradicts"):
        export_with_factory(
            lab.save(tmp_path / "m.ckpt"), f"{LAB}:build", tmp_path / "m.onnx", Choices(gating="global")
        )
