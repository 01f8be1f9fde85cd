"""FiLM, whose FFN gate multiplies by 1 + g: what the file says of it, and what its numbers mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gatescope.analysis.causes.ablation.changes import changed
from gatescope.analysis.causes.ablation.interventions import interventions
from gatescope.export import Variant, export_checkpoint, load_checkpoint
from gatescope.export.families.choices import Choices
from gatescope.export.families.qd_detr import GatedQDDETR
from gatescope.export.reading.facts import describe
from gatescope.export.reading.rebuild import rebuild
from gatescope.runtime import GateSession
from gatescope.runtime.data.prepare import Sample, collate
from gatescope.runtime.inspection.exported_model import inspect_model
from tests.export import small

LAYERS, LENGTHS = 2, ((7, 3), (4, 8), (1, 1))
FAMILY = {"family": "sigmoid", "attention_activation": "sigmoid", "film": True}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small FiLM model's file, open, and the same model in PyTorch."""
    folder = tmp_path_factory.mktemp("film")
    # Large enough gates: with weights this small they would all be near 0, and 1 + g near 1.
    weights = small.weights(gating="clipwise", fusion_layers=LAYERS, **FAMILY)
    for name in weights:
        if "mlp_ffn" in name:
            weights[name] *= 8
        if name.endswith("ffn_alpha"):
            weights[name] = torch.tensor(0.8)
    checkpoint = small.save(folder / "m.pth", weights, gating_type="clipwise", fusion_layers=LAYERS)
    path = folder / "m.ts"
    export_checkpoint(checkpoint, path, variant=Variant(contribution=True, overridable=True))
    read = load_checkpoint(checkpoint)
    with GateSession(path, device="cpu") as session:
        yield session, rebuild(describe(read, Choices()), read.weights)


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)

    def rows(n: int, width: int) -> np.ndarray:
        return rng.standard_normal((n, width)).astype(np.float32)

    return collate([Sample(rows(clips, 12), rows(clips, 9), rows(words, 6)) for clips, words in LENGTHS])


def test_the_file_says_what_its_gates_multiply_by(film: Any) -> None:
    session, _ = film
    assert {kind: session.manifest.acts_as(kind) for kind in ("attention", "ffn")} == {
        "attention": "g",
        "ffn": "1+g",
    }
    assert session.manifest.doubts == ()
    model = next(one for one in inspect_model(session.path).sections if one.title == "Model")
    gates = next(row for row in model.rows if row.name == "gates")
    assert "FiLM: acts as 1 + g" in gates.value.rpartition("ffn")[2]
    assert "FiLM" not in gates.value.rpartition("ffn")[0]


def test_contribution_is_of_the_whole_branch_without_the_shift(film: Any, inputs: Any) -> None:
    """‖(1 + g)·f‖ / ‖z‖ of the first layer, written out from the formulas."""
    session, model = film
    got = session.run(inputs)
    layer = model.fusion.fusion_layers[0]
    with torch.inference_mode():
        video = model.input_vid_proj(torch.from_numpy(inputs["src_vid"]))
        audio = model.input_aud_proj(torch.from_numpy(inputs["src_aud"]))
        audio = F.layer_norm(audio, (256,), layer.norm1.weight, layer.norm1.bias)
        heard = layer.delta_norm_mha(layer.out_proj(layer.a_proj(audio)))
        stream = video + torch.from_numpy(got.gates["attention"][:, 0]) * heard
        thought = layer.delta_norm_ffn(layer.ffn1(layer.norm2(stream)))
        gate = torch.from_numpy(got.gates["ffn"][:, 0])
        whole = (((1 + gate) * thought).norm(dim=-1) / stream.norm(dim=-1)).numpy()
        alone = ((gate * thought).norm(dim=-1) / stream.norm(dim=-1)).numpy()
    for i, (clips, _) in enumerate(LENGTHS):
        np.testing.assert_allclose(got.contributions["ffn"][i, 0, :clips], whole[i, :clips], rtol=1e-4)
    assert np.abs(whole - alone)[0].min() > 0.1 * whole[0].max()  # the old meaning would be seen


def without_branches(model: GatedQDDETR, inputs: dict[str, np.ndarray], gates: Any) -> dict[str, np.ndarray]:
    """What ``model`` gives where the branches of ``gates``, by kind and layer, give nothing."""
    handles = []
    for kind, index in gates:
        layer: Any = model.fusion.fusion_layers[index]
        branch = layer.delta_norm_mha if kind == "attention" else layer.delta_norm_ffn
        handles.append(branch.register_forward_hook(lambda *_: torch.zeros(())))
    try:
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
            return {name: value.numpy() for name, value in model(**tensors)._asdict().items()}
    finally:
        for handle in handles:
            handle.remove()


def test_shutting_is_the_model_without_the_branch(film: Any, inputs: Any) -> None:
    """Every intervention that shuts gates, and the overrides in words, against the branches taken away."""
    session, model = film
    unchanged = session.run(inputs).predictions
    shutting = [one for one in interventions(session.manifest, 2) if one.treatment == "shut"]
    assert {one.name for one in shutting} >= {"all-gates-shut", "all-ffn-shut", "layer1-ffn-shut"}
    means = {kind: np.zeros((LAYERS, 1, 1)) for kind in ("attention", "ffn")}
    for one in shutting:
        batch, overrides = changed(session.manifest, one, inputs, means, None)
        expected = without_branches(model, inputs, one.gates)
        for name, values in session.run(batch, overrides=overrides).predictions.items():
            if name != "saliency_scores":  # which has padding
                np.testing.assert_allclose(values, expected[name], atol=1e-5, err_msg=f"{one.name} {name}")
    words = session.run(inputs, overrides={"ffn": "shut"}).predictions
    expected = without_branches(model, inputs, [("ffn", layer) for layer in range(LAYERS)])
    np.testing.assert_allclose(words["pred_logits"], expected["pred_logits"], atol=1e-5)
    # At 0 the branch is still there: not the same as shut, and this data shows it.
    zero = session.run(inputs, overrides={"ffn": {"scale": 0}}).predictions
    assert np.abs(zero["pred_logits"] - expected["pred_logits"]).max() > 1e-3
    assert np.abs(zero["pred_logits"] - unchanged["pred_logits"]).max() > 0
