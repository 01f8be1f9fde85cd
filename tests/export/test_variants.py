"""Every output variant and format of one small model, against the model written out by hand."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import torch
from filelock import FileLock
from torch.nn import functional as F

from gatescope.export import Choices, Variant, export_checkpoint, load_checkpoint
from gatescope.export.graph.onnx_graph import OPSET
from gatescope.export.reading.facts import describe
from gatescope.export.reading.rebuild import rebuild
from gatescope.runtime import GateSession
from gatescope.runtime.data.prepare import collate
from gatescope.runtime.errors import UsageError
from gatescope.runtime.gates.vocabulary import RAIL, SUMMARY_FIELDS
from tests.export import small
from tests.golden.rounding import allowed, assert_rounded

pytestmark = pytest.mark.slow

GATINGS = ["global", "clipwise", "elementwise"]
# ONNX files of whole models take seconds each, so every one is looked at from several sides: opsets other
# than the default belong to variants, and what another gating or format shows goes through one made sooner.
OPSETS = {"plain": 18, "summary": 22}
SUFFIXES = {"global": ".ts", "clipwise": ".onnx", "elementwise": ".ts"}
# Every gating and every format once. A graph that ends at the gates shows the consequences of an override as
# well: the second layer's gates follow from the first's.
OVERRIDABLE = [
    ("clipwise", "tracked", ".onnx"),
    ("clipwise", "tracked", ".ts"),
    ("clipwise", "tracked", ".pt2"),
    ("global", "gates", ".onnx"),
    ("elementwise", "gates", ".pt2"),
]
LENGTHS = ((7, 3), (4, 8), (1, 1))


@pytest.fixture(scope="module")
def made(shared_folder):
    """Export once and keep: (gating, variant, suffix) → the open session and the PyTorch model."""
    folder = shared_folder / "variants"
    folder.mkdir(exist_ok=True)
    cache: dict = {}

    def make(gating: str, variant: Variant, suffix: str = ".onnx"):
        key = gating, variant, suffix
        if key not in cache:
            path = folder / f"{gating}.pth"
            name = f"{gating}-{variant.outputs}-{variant.contribution}-{variant.overridable}{suffix}"
            opset = OPSETS.get(variant.outputs, OPSET)
            with FileLock(folder / f"{gating}.lock"):
                if not path.exists():
                    small.save(path, small.weights(gating=gating, fusion_layers=2), gating_type=gating)
            with FileLock(folder / f"{name}.lock"):
                if not (folder / name).exists():
                    export_checkpoint(path, folder / name, variant=variant, opset=opset)
            cache[key] = GateSession(folder / name, device="cpu")
        checkpoint = load_checkpoint(folder / f"{gating}.pth")
        return cache[key], rebuild(describe(checkpoint, Choices()), checkpoint.weights)

    yield make
    for session in cache.values():
        session.close()


@pytest.fixture(scope="module")
def inputs():
    from gatescope.runtime.data.prepare import Sample

    rng = np.random.default_rng(7)

    def rows(n: int, width: int) -> np.ndarray:
        return rng.standard_normal((n, width)).astype(np.float32)

    return collate([Sample(rows(clips, 12), rows(clips, 9), rows(words, 6)) for clips, words in LENGTHS])


def outputs_of(model, inputs, overrides=None) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
        return {k: v.numpy() for k, v in model(**tensors, overrides=overrides)._asdict().items()}


def exactly(model, inputs, overrides=None) -> dict[str, np.ndarray]:
    """In float64."""
    wide = {name: value.astype(np.float64) for name, value in inputs.items()}
    return outputs_of(copy.deepcopy(model).double(), wide, overrides)


@pytest.mark.parametrize(
    ("outputs", "suffix"),
    [
        *((outputs, suffix) for outputs in ("tracked", "gates") for suffix in (".onnx", ".ts", ".pt2")),
        ("plain", ".onnx"),
    ],
)
def test_variants_give_the_same_numbers_in_every_format(made, inputs, outputs, suffix) -> None:
    session, model = made("clipwise", Variant(outputs), suffix)
    expected, exact = outputs_of(model, inputs), exactly(model, inputs)
    got = session.run(inputs).raw
    wanted = {"tracked": 5, "plain": 3, "gates": 2}[outputs]
    assert len(got) == wanted
    for name, values in got.items():
        assert_rounded(values, expected[name], exact[name], name)


@pytest.mark.parametrize("gating", ["global", "clipwise"])
def test_graph_that_ends_at_the_gates_has_nothing_else(made, gating) -> None:
    session, _ = made(gating, Variant("gates"))
    graph = onnx.load(session.path).graph
    wanted = ["src_vid", "src_vid_mask", "src_aud", *(["src_aud_mask"] if gating == "global" else [])]
    assert [value.name for value in graph.input] == wanted
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    assert all(any(name in used for name in node.output) for node in graph.node)
    whole = onnx.load(made("clipwise", Variant())[0].path).graph
    assert len(graph.node) < len(whole.node) / 2


@pytest.mark.parametrize("gating", GATINGS)
@pytest.mark.parametrize("kind", ["attention", "ffn"])
def test_summary_equals_numpy_over_valid_entries(made, inputs, gating, kind) -> None:
    session, model = made(gating, Variant("summary"), SUFFIXES[gating])
    gates = exactly(model, inputs)[f"gate_{kind}"]
    summary = session.run(inputs).summaries[kind]
    field = {name: i for i, name in enumerate(SUMMARY_FIELDS)}
    for i, (clips, _) in enumerate(LENGTHS):
        for layer in range(2):
            valid = gates[i, layer].ravel() if gating == "global" else gates[i, layer, :clips].ravel()
            row = summary[i, layer]
            assert row[field["count"]] == valid.size
            np.testing.assert_allclose(row[field["sum"]], valid.sum(), rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(row[field["sum_squares"]], (valid**2).sum(), rtol=1e-4)
            np.testing.assert_allclose(row[field["sum_abs"]], np.abs(valid).sum(), rtol=1e-4)
            np.testing.assert_allclose(
                [row[field["min"]], row[field["max"]]],
                [valid.min(), valid.max()],
                atol=allowed(f"gate_{kind}"),
            )
            assert row[field["rail_low"]] == (valid <= -1 + RAIL).sum()
            assert row[field["rail_high"]] == (valid >= 1 - RAIL).sum()
            counts = np.histogram(valid, 64, (-1, 1))[0]
            assert np.abs(row[field["bin_0"] :] - counts).sum() <= 2  # a value on a bin's edge
            assert row[field["bin_0"] :].sum() == valid.size


@pytest.mark.parametrize("gating", ["global", "elementwise"])
def test_contribution_is_how_far_the_branch_moves_the_stream(made, inputs, gating) -> None:
    """Recomputed from the formulas: ‖g·u‖ / ‖v‖ and ‖g·f‖ / ‖z‖ of the first layer."""
    session, model = made(gating, Variant("gates", contribution=True))
    got = session.run(inputs)
    with torch.inference_mode():
        video = model.input_vid_proj(torch.from_numpy(inputs["src_vid"]))
        audio = model.input_aud_proj(torch.from_numpy(inputs["src_aud"]))
        layer = model.fusion.fusion_layers[0]
        heard = layer.out_proj(
            layer.a_proj(F.layer_norm(audio, (256,), layer.norm1.weight, layer.norm1.bias))
        )
        moved = torch.from_numpy(got.gates["attention"][:, 0]) * heard
        stream = video + moved
        thought = torch.from_numpy(got.gates["ffn"][:, 0]) * layer.ffn1(layer.norm2(stream))
        attention = (moved.norm(dim=-1) / video.norm(dim=-1)).numpy()
        ffn = (thought.norm(dim=-1) / stream.norm(dim=-1)).numpy()
    for i, (clips, _) in enumerate(LENGTHS):
        np.testing.assert_allclose(
            got.contributions["attention"][i, 0, :clips], attention[i, :clips], rtol=1e-4
        )
        np.testing.assert_allclose(got.contributions["ffn"][i, 0, :clips], ffn[i, :clips], rtol=1e-4)


@pytest.mark.parametrize(("gating", "outputs", "suffix"), OVERRIDABLE)
def test_neutral_overrides_change_nothing_at_all(made, inputs, gating, outputs, suffix) -> None:
    ordinary, _ = made(gating, Variant(outputs), suffix)
    session, _ = made(gating, Variant(outputs, overridable=True), suffix)
    expected, got = ordinary.run(inputs).raw, session.run(inputs).raw
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name], values, err_msg=name)


@pytest.mark.parametrize(("gating", "outputs", "suffix"), OVERRIDABLE)
def test_overrides_set_gates_and_what_follows_from_them(made, inputs, gating, outputs, suffix) -> None:
    session, model = made(gating, Variant(outputs, overridable=True), suffix)
    shut = session.run(inputs, overrides={"attention": {"scale": 0}})
    assert not shut.gates["attention"].any()
    zero = {"attention": (torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1))}
    expected, ordinary = outputs_of(model, inputs, zero), outputs_of(model, inputs)
    exact = exactly(model, inputs, {"attention": tuple(value.double() for value in zero["attention"])})
    consequence = "pred_spans" if outputs == "tracked" else "gate_ffn"
    assert_rounded(shut.raw[consequence], expected[consequence], exact[consequence], consequence)
    assert np.abs(expected[consequence] - ordinary[consequence]).max() > 1e-3
    # Another video's gates: the ones of the batch in reverse order.
    other = session.run(inputs).gates["ffn"][::-1]
    swapped = session.run(inputs, overrides={"ffn": {"scale": 0, "offset": other}})
    np.testing.assert_array_equal(swapped.gates["ffn"], other)
    # One layer's gate set to its mean.
    mean = np.zeros((1, 2, 1, 1), np.float32)
    mean[:, 1] = 0.25
    scale = np.ones((1, 2, 1, 1), np.float32)
    scale[:, 1] = 0
    set_to_mean = session.run(inputs, overrides={"ffn": {"scale": scale, "offset": mean}})
    assert (set_to_mean.gates["ffn"][:, 1] == 0.25).all()


def test_overrides_of_the_onnx_file_may_be_left_out_by_anyone(made, inputs) -> None:
    import onnxruntime

    session, _ = made("clipwise", Variant(overridable=True))
    plain = onnxruntime.InferenceSession(str(session.path), providers=["CPUExecutionProvider"])
    required = [value.name for value in plain.get_inputs()]
    assert required == ["src_txt", "src_txt_mask", "src_vid", "src_vid_mask", "src_aud"]
    names = [value.name for value in plain.get_outputs()]
    got = dict(zip(names, plain.run(names, {name: inputs[name] for name in required}), strict=True))
    for name, values in session.run(inputs).raw.items():
        # Other fusions than in a plain session.
        np.testing.assert_allclose(got[name], values, atol=allowed(name))


@pytest.mark.parametrize("outputs", ["plain", "summary"])
def test_contribution_has_no_place_without_gates(outputs) -> None:
    with pytest.raises(UsageError, match="contribution"):
        Variant(outputs, contribution=True)


@pytest.mark.parametrize("outputs", OPSETS)
def test_other_opsets(made, outputs) -> None:
    session, _ = made("clipwise", Variant(outputs))
    assert session.manifest.opset == OPSETS[outputs]
    assert {e.domain: e.version for e in onnx.load(session.path).opset_import} == {"": OPSETS[outputs]}


@pytest.mark.parametrize("opset", [1, 17, 23, 99])
def test_opsets_that_are_refused(tmp_path, opset) -> None:
    with pytest.raises(UsageError, match="opset"):
        export_checkpoint(small.save(tmp_path / "m.pth"), opset=opset)


@pytest.mark.parametrize(
    ("output", "file_format"), [("m.onnx", "pt2"), ("m.pt2", "onnx"), ("m.ts", "pt2"), ("m.bin", None)]
)
def test_names_that_contradict_the_format(tmp_path, output, file_format) -> None:
    with pytest.raises(UsageError):
        export_checkpoint(small.save(tmp_path / "m.pth"), tmp_path / output, file_format=file_format)
