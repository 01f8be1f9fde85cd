"""Every rewrite alone and all together: the same numbers, less to do, in every family it is meant for."""

from __future__ import annotations

import copy
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gatescope.export.families.config import ModelConfig, SsmConfig
from gatescope.export.families.qd_detr import GatedQDDETR
from gatescope.export.graph.variant import Variant, VariantGraph
from gatescope.export.optimize import REWRITES, choose_rewrites, optimize
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import UsageError
from gatescope.runtime.session.model_file import read_model_file

from . import small

SSM = SsmConfig(
    band_width=2, channels=4, dilations=(1, 2), diag_subtract=0.5, video_branch=True, gate_hidden=4
)
FAMILIES: dict[str, dict[str, Any]] = {
    "clipwise": {"fusion_layers": 2, "decoder_layers": 2},
    "global": {"gating": "global", "fusion_layers": 2},
    "global in reference batching": {"gating": "global", "batching": "reference", "decoder_layers": 2},
    "elementwise": {"gating": "elementwise", "text_positions": True},
    "sigmoid": {"family": "sigmoid", "attention_activation": "sigmoid", "fusion_layers": 2},
    "film": {"family": "sigmoid", "attention_activation": "sigmoid", "film": True, "gating": "elementwise"},
    "base": {"family": "base_avigate", "gating": "global"},
    "ssm": {"family": "ssm", "gating": "global_diagstrip_ssm", "ssm": SSM},
    "text first": {"family": "text_first", "gating": "global", "fusion_layers": 2},
    "text first in reference batching": {"family": "text_first", "batching": "reference"},
}
# What a rewrite has nothing to do in.
IDLE = {("base", "audio_projection"), ("ssm", "gate_perceptrons")}


def model(family: str) -> GatedQDDETR:
    config: ModelConfig = small.config(**FAMILIES[family])
    built = GatedQDDETR(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return built.eval().requires_grad_(False)


def batch(config: ModelConfig, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Three samples of unequal lengths, padded."""
    rng = np.random.default_rng(seed)
    clips, words = (7, 4, 1), (5, 2, 1)
    made: dict[str, np.ndarray] = {}
    for name, width, lengths in (
        ("src_txt", config.text_width, words),
        ("src_vid", config.video_width, clips),
        ("src_aud", config.audio_width, clips),
    ):
        made[name] = np.zeros((3, max(lengths), width), np.float32)
        made[f"{name}_mask"] = np.zeros((3, max(lengths)), np.float32)
        for i, length in enumerate(lengths):
            made[name][i, :length] = rng.standard_normal((length, width))
            made[f"{name}_mask"][i, :length] = 1
    return made


def flops(built: GatedQDDETR) -> int:
    """Multiplications and additions of products for one batch without padding."""
    config = built.config
    inputs = {
        name: torch.ones(2, length, *([width] if width else []))
        for name, length, width in (
            ("src_txt", 8, config.text_width),
            ("src_txt_mask", 8, 0),
            ("src_vid", 20, config.video_width),
            ("src_vid_mask", 20, 0),
            ("src_aud", 20, config.audio_width),
            ("src_aud_mask", 20, 0),
        )
    }
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        built(**inputs)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", [*REWRITES, "all"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_rewrite_changes_no_number(family: str, name: str) -> None:
    original = model(family)
    names = choose_rewrites(name)
    rewritten, applied = optimize(original, names)
    assert set(applied) == {one for one in names if (family, one) not in IDLE}
    variant = Variant(contribution=True)
    given = batch(original.config)
    want = VariantGraph(original, variant).run(given)
    got = VariantGraph(rewritten, variant).run(given)
    for output, values in want.items():
        valid = given["src_vid_mask"] > 0
        if output == "saliency_scores":
            values, got[output] = values[valid], got[output][valid]
        np.testing.assert_allclose(got[output], values, rtol=1e-4, atol=2e-5, err_msg=output)


def test_the_original_is_left_as_it_was() -> None:
    original = model("clipwise")
    before = {name: value.clone() for name, value in original.state_dict().items()}
    modules = {name: type(module) for name, module in original.named_modules()}
    optimize(original, choose_rewrites("all"))
    assert {name: type(module) for name, module in original.named_modules()} == modules
    for name, value in original.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_weights_no_rewrite_touches_are_shared() -> None:
    original = model("clipwise")
    rewritten, _ = optimize(original, ("leaky_relu", "saliency"))
    assert rewritten.class_embed.weight.data_ptr() == original.class_embed.weight.data_ptr()


@pytest.mark.parametrize("name", ["audio_projection", "few_queries", "first_decoder_layer", "saliency"])
def test_a_rewrite_that_saves_arithmetic_does(name: str) -> None:
    original = model("clipwise")
    rewritten, _ = optimize(original, (name,))
    saved = flops(original) - flops(rewritten)
    if name == "audio_projection":
        # d² products for each of 2 · 20 clips in 2 layers, two operations each.
        assert saved == 2 * (2 * 20) * 256 * 256 * 2
    assert saved > 0


def test_nothing_of_what_was_replaced_is_kept() -> None:
    rewritten, _ = optimize(model("clipwise"), choose_rewrites("all"))
    gone = ("a_proj", "mlp_mha", "mlp_ffn", "saliency_proj1", "ca_kcontent_proj")
    names = [name for name, _ in rewritten.named_parameters()]
    assert not [name for name in names if any(part in name for part in gone)]
    assert not [name for name in names if "fusion_layers" in name and "norm1" in name]
    assert not any(isinstance(module, (nn.PReLU, nn.Linear)) for module in rewritten.modules())


def test_a_prelu_with_a_slope_for_each_channel_stays() -> None:
    original = model("clipwise")
    layer = original.transformer.encoder.layers[0]
    layer.activation = nn.PReLU(16).requires_grad_(False)
    rewritten, _ = optimize(original, ("leaky_relu",))
    assert isinstance(rewritten.transformer.encoder.layers[0].activation, nn.PReLU)


def test_names_are_chosen_by_word() -> None:
    assert choose_rewrites("all") == tuple(REWRITES)
    assert choose_rewrites("none") == ()
    assert choose_rewrites("saliency, leaky_relu") == ("leaky_relu", "saliency")
    with pytest.raises(UsageError, match="'fast'") as caught:
        choose_rewrites("leaky_relu,fast")
    assert "flat_products" in str(caught.value)


def test_every_rewrite_has_its_rule_in_its_file() -> None:
    for name, rewrite in REWRITES.items():
        text = __import__(rewrite.__module__, fromlist=["_"]).__doc__ or ""
        assert text.startswith(f"``{name}``:"), name
        assert "Rule" in text, name


def test_half_precision_gives_float32_near_the_original() -> None:
    original = model("elementwise")
    graph = VariantGraph(optimize(original, choose_rewrites("all"))[0], Variant(), "float16")
    given = batch(original.config)
    want, got = VariantGraph(original, Variant()).run(given), graph.run(given)
    for name in ("gate_attention", "gate_ffn"):
        assert got[name].dtype == np.float32
        assert 0 < np.abs(got[name] - want[name]).max() < 0.02
    assert original.class_embed.weight.dtype == torch.float32


@pytest.mark.parametrize("family", ["clipwise", "elementwise", "base", "ssm", "global", "text first"])
@pytest.mark.parametrize("batching", ["exact", "reference"])
def test_a_graph_of_one_layer_that_ends_at_the_gates_declares_only_what_it_reads(
    family: str, batching: str
) -> None:
    config = small.config(**{**FAMILIES[family], "fusion_layers": 1, "batching": batching})
    given = batch(config)
    # Weights may happen to close off what a mask would change, and not five times.
    mattered = {"src_vid_mask": False, "src_aud_mask": False}
    for seed in range(5):
        graph = VariantGraph(_random(config, seed), Variant("gates"))
        before = graph.run(given)
        for name in mattered:
            changed = graph.run(given | {name: np.ones_like(given[name])})
            mattered[name] |= not all(np.array_equal(before[key], value) for key, value in changed.items())
    assert mattered == {name: name in graph.input_axes for name in mattered}


def _random(config: ModelConfig, seed: int) -> GatedQDDETR:
    built = GatedQDDETR(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in built.parameters():
        parameter.normal_(0, 0.2, generator=generator)
    return built


def export(tmp_path: Path, *flags: str) -> tuple[int, Path]:
    output = tmp_path / "m.ts"
    checkpoint = small.save(tmp_path / "m.ckpt")
    return main(["export", "--checkpoint", str(checkpoint), "--output", str(output), *flags]), output


@pytest.mark.parametrize(
    ("flags", "rewrites", "precision"),
    [
        ((), tuple(REWRITES), "float32"),
        (("--optimize", "none"), (), "float32"),
        (("--optimize", "saliency,leaky_relu"), ("leaky_relu", "saliency"), "float32"),
        (("--precision", "fp16"), tuple(REWRITES), "float16"),
    ],
)
def test_flags_decide_what_is_in_the_file_and_the_file_says_so(
    tmp_path: Path,
    flags: tuple[str, ...],
    rewrites: tuple[str, ...],
    precision: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, output = export(tmp_path, *flags)
    assert code == 0
    file = read_model_file(output)
    assert (file.manifest.rewrites, file.manifest.precision) == (rewrites, precision)
    certificate = file.manifest.certificate
    assert certificate is not None and certificate.compared_with == "gatescope's own model"
    said = capsys.readouterr().out
    if precision == "float16":
        assert 1e-6 < certificate.errors["gate_attention"] < 0.02
        assert "half precision moves attention gates by up to" in said
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript, and we read it all the same
        program = torch.jit.load(io.BytesIO(file.content))
    assert ("prelu" in str(program.inlined_graph)) == ("leaky_relu" not in rewrites)


def test_flags_that_make_no_sense_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, output = export(tmp_path, "--optimize", "everything")
    assert code == 2 and not output.exists()
    assert "'everything'" in capsys.readouterr().err
    for flag, value in (("--optimize", "none"), ("--precision", "fp16")):
        code, _ = export(tmp_path, "--model", "package.module:factory", flag, value)
        assert code == 2
        assert f"{flag} together with --model" in capsys.readouterr().err


def test_the_certificate_is_against_the_model_before_any_rewrite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(model: GatedQDDETR) -> bool:
        model.class_embed = copy.deepcopy(model.class_embed)
        model.class_embed.weight.mul_(1.5)
        return True

    monkeypatch.setitem(REWRITES, "saliency", wrong)
    code, output = export(tmp_path, "--optimize", "saliency")
    assert code == 1 and not output.exists()
    assert "differs from PyTorch in pred_logits" in capsys.readouterr().err
