"""A model small enough to compute by hand, with the names, axes and manifest of a real export.

``tiny_model`` writes it, ``expected`` computes what it gives with numpy alone:

    s            = mean_D(src_vid) + mean_D(src_aud)                      (B, L, 1)
    gate input   = s (clipwise), mean of s over valid clips (global), src_vid[..., :4] (elementwise)
    gate_attention[layer] = tanh((layer + 1) · gate input)
    gate_ffn[layer]       = tanh(-(layer + 1) / 2 · gate input)
    t            = mean over valid words of mean_D(src_txt)               (B, 1)
    pred_logits[q]        = ((q + 1) · t, 0)
    pred_spans[q]         = sigmoid((t + q) / 2), sigmoid(t - q)
    saliency_scores       = s · (1 + t)

and of the exports' options:

    overridable           gate' = scale · gate + offset, both inputs optional
    contribution[layer]   = |s| · (layer + 1), for every kind                  (B, layers, L)
    summary[layer, field] = (field + 1) · (layer + 1) · valid clips, for every kind; a stand-in with the shape
                            of the real statistics, which the exporter's tests compute
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gatescope.runtime.gates.manifest import Fact, Manifest, Override, Summary
from gatescope.runtime.gates.preprocessing import InputSource, Preprocessing
from gatescope.runtime.gates.shape import Gate, Tensor
from gatescope.runtime.gates.vocabulary import SUMMARY_FIELDS
from gatescope.runtime.session.model_file import write_manifest_onnx

QUERIES = 3
CHANNELS = 4  # gate channels of the elementwise model
FACTOR = {"attention": 1.0, "ffn": -0.5}
Gating = Literal["global", "clipwise", "elementwise"]
Kind = Literal["tracked", "plain", "gates", "summary"]


def tiny_manifest(
    gating: Gating = "clipwise",
    layers: int = 2,
    *,
    video_widths: Sequence[int] = (3, 2),
    audio_width: int = 3,
    text_width: int = 4,
    outputs_kind: Kind = "tracked",
    contribution: bool = False,
    overridable: bool = False,
    depends_on_text: bool = False,
    **preprocessing: Any,
) -> Manifest:
    """A manifest by hand; widths are those of the raw features, to which the TEF adds two.

    ``preprocessing`` replaces fields of :class:`Preprocessing` (``tef``, ``max_v_l``, ``clip_length``, …).
    """
    recipe = Preprocessing(
        dataset="hl",
        video=tuple(
            InputSource(path, width)
            for path, width in zip(("slowfast_features", "clip_features"), video_widths, strict=False)
        ),
        audio=InputSource("pann_features", audio_width),
        text=InputSource("clip_text_features", text_width),
        video_width=0,
        audio_width=0,
        text_width=text_width,
        normalize_video=True,
        normalize_text=True,
        tef=True,
        clip_length=2.0,
        max_v_l=75,
        max_q_l=32,
        round_to=2.0,
        clamp_seconds=150.0,
    )
    recipe = replace(recipe, **preprocessing)
    tef = 2 if recipe.tef else 0
    recipe = replace(recipe, video_width=sum(video_widths) + tef, audio_width=audio_width + tef)
    axes = {
        "global": ("batch", "layer", "1", "1"),
        "clipwise": ("batch", "layer", "clip", "1"),
        "elementwise": ("batch", "layer", "clip", "channel"),
    }[gating]
    gates = tuple(
        Gate(f"fusion.{layer}.{kind}", kind, layer, f"gate_{kind}", layer, axes, (-1.0, 1.0))
        for kind in FACTOR
        for layer in range(layers)
    )
    inputs = (
        Tensor("src_txt", ("batch", "word", recipe.text_width)),
        Tensor("src_txt_mask", ("batch", "word")),
        Tensor("src_vid", ("batch", "clip", recipe.video_width)),
        Tensor("src_vid_mask", ("batch", "clip")),
        Tensor("src_aud", ("batch", "clip", recipe.audio_width)),
    )
    gate_axes = (
        "batch",
        layers,
        1 if gating == "global" else "clip",
        CHANNELS if gating == "elementwise" else 1,
    )
    predictions = (
        Tensor("pred_logits", ("batch", QUERIES, 2)),
        Tensor("pred_spans", ("batch", QUERIES, 2)),
        Tensor("saliency_scores", ("batch", "clip")),
    )
    gate_outputs = tuple(Tensor(f"gate_{kind}", gate_axes) for kind in FACTOR)
    moved = tuple(Tensor(f"contribution_{kind}", ("batch", layers, "clip")) for kind in FACTOR)
    summaries = tuple(Tensor(f"summary_{kind}", ("batch", layers, len(SUMMARY_FIELDS))) for kind in FACTOR)
    if outputs_kind == "gates":
        inputs = tuple(
            tensor
            for tensor in inputs
            if "txt" not in tensor.name and (gating == "global" or "mask" not in tensor.name)
        )
    overrides = {kind: Override(f"{kind}_scale", f"{kind}_offset") for kind in FACTOR} if overridable else {}
    free = (*gate_axes[:3], "channel" if gating == "elementwise" else 1)
    inputs += tuple(Tensor(name, free) for one in overrides.values() for name in (one.scale, one.offset))
    outputs = predictions if outputs_kind != "gates" else ()
    outputs += gate_outputs if outputs_kind in ("tracked", "gates") else ()
    outputs += summaries if outputs_kind == "summary" else ()
    outputs += moved if contribution else ()
    return Manifest(
        family="avigate_custom",
        gating=gating,
        gates=gates,
        inputs=inputs,
        outputs=outputs,
        preprocessing=recipe,
        facts={
            "fusion_layers": Fact(layers, "weights"),
            "fusion_n_heads": Fact(4, "opt"),
            "hidden_dim": Fact(CHANNELS, "weights"),
        },
        checkpoint_sha256="0" * 64,
        versions={"gatescope": "0.1.0"},
        opset=20,
        precision="float32",
        batching="exact",
        outputs_kind=outputs_kind,
        depends_on_text=depends_on_text,
        contributions={kind: f"contribution_{kind}" for kind in FACTOR} if contribution else {},
        overrides=overrides,
        summaries={kind: Summary(f"summary_{kind}") for kind in FACTOR} if outputs_kind == "summary" else {},
        eval_batch_size=4,
    )


def tiny_model(path: Path, gating: Gating = "clipwise", layers: int = 2, **manifest: Any) -> Manifest:
    """Write the model to ``path``; takes what :func:`tiny_manifest` takes and returns its manifest."""
    made = tiny_manifest(gating, layers, **manifest)
    onnx.save(tiny_proto(made), path)
    return made


def tiny_proto(manifest: Manifest) -> onnx.ModelProto:
    """The ONNX model that ``manifest`` describes, carrying it."""
    graph = helper.make_graph(
        [],
        "tiny",
        [_value(tensor) for tensor in manifest.inputs],
        [_value(tensor) for tensor in manifest.outputs],
    )
    build = _Builder(graph)
    video = build("ReduceMean", "src_vid", build.ints(-1), keepdims=1)
    audio = build("ReduceMean", "src_aud", build.ints(-1), keepdims=1)
    strength = build("Add", video, audio)  # (B, L, 1)
    if manifest.gates:
        if manifest.gating == "global":
            mask = build("Unsqueeze", "src_vid_mask", build.ints(-1))
            valid = build("ReduceSum", build("Mul", strength, mask), build.ints(1), keepdims=1)
            count = build("ReduceSum", mask, build.ints(1), keepdims=1)
            source = build("Div", valid, count)
        elif manifest.gating == "elementwise":
            source = build("Slice", "src_vid", build.ints(0), build.ints(CHANNELS), build.ints(2))
        else:
            source = strength
        stacked = build("Unsqueeze", source, build.ints(1))
        steps = np.arange(1, manifest.layers + 1, dtype=np.float32).reshape(1, -1, 1, 1)
        for kind, factor in FACTOR.items():
            if manifest.outputs_kind not in ("tracked", "gates"):
                continue
            scaled = build("Mul", stacked, build.floats(np.float32(factor) * steps))
            if override := manifest.overrides.get(kind):
                gate = build("Tanh", scaled)
                changed = build("Mul", gate, override.scale)
                build("Add", changed, override.offset, out=f"gate_{kind}")
            else:
                build("Tanh", scaled, out=f"gate_{kind}")
        for output in manifest.contributions.values():
            flat = build("Squeeze", build("Abs", strength), build.ints(-1))
            build("Mul", build("Unsqueeze", flat, build.ints(1)), build.floats(steps[..., 0]), out=output)
        for summary in manifest.summaries.values():
            clips = build("ReduceSum", "src_vid_mask", build.ints(1), keepdims=1)
            fields = np.arange(1, len(SUMMARY_FIELDS) + 1).reshape(1, 1, -1) * steps[..., 0]
            build("Mul", build("Unsqueeze", clips, build.ints(1)), build.floats(fields), out=summary.output)
        for override in manifest.overrides.values():
            for name, value in ((override.scale, 1.0), (override.offset, 0.0)):
                neutral = np.full((1, manifest.layers, 1, 1), value, np.float32)
                graph.initializer.append(cast(Any, numpy_helper.from_array(neutral, name)))
    if manifest.outputs_kind != "gates":
        words = build("ReduceMean", "src_txt", build.ints(-1), keepdims=0)
        said = build("ReduceSum", build("Mul", words, "src_txt_mask"), build.ints(1), keepdims=1)
        text = build("Div", said, build("ReduceSum", "src_txt_mask", build.ints(1), keepdims=1))  # (B, 1)
        q = np.arange(QUERIES, dtype=np.float32)
        spread = build("Unsqueeze", text, build.ints(-1))  # (B, 1, 1)
        slopes = np.stack([q + 1, np.zeros_like(q)], axis=1)[None]
        build("Mul", spread, build.floats(slopes), out="pred_logits")
        factors = np.stack([np.full_like(q, 0.5), np.ones_like(q)], axis=1)[None]
        offsets = np.stack([q / 2, -q], axis=1)[None]
        line = build("Add", build("Mul", spread, build.floats(factors)), build.floats(offsets))
        build("Sigmoid", line, out="pred_spans")
        plus = build("Add", text, build.floats(np.ones((1, 1), np.float32)))
        flat = build("Squeeze", strength, build.ints(-1))
        saliency = build("Mul", flat, plus)
        # A real graph uses the video mask everywhere; padding here becomes 0.
        build("Mul", saliency, "src_vid_mask", out="saliency_scores")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model.producer_name = "gatescope"
    write_manifest_onnx(model, manifest)
    onnx.checker.check_model(model, full_check=True)
    return model


def tiny_batch(
    manifest: Manifest, clips: Sequence[int] = (5, 3), words: Sequence[int] = (4, 2), seed: int = 0
) -> dict[str, np.ndarray]:
    """A padded batch of the full set for ``manifest``: random features, zero where the mask is 0."""
    rng = np.random.default_rng(seed)
    recipe = manifest.preprocessing
    batch: dict[str, np.ndarray] = {}
    for name, width, lengths in (
        ("src_txt", recipe.text_width, words),
        ("src_vid", recipe.video_width, clips),
        ("src_aud", recipe.audio_width, clips),
    ):
        mask = (np.arange(max(lengths)) < np.asarray(lengths)[:, None]).astype(np.float32)
        features = rng.standard_normal((len(lengths), max(lengths), width)).astype(np.float32)
        batch[name], batch[f"{name}_mask"] = features * mask[..., None], mask
    return batch


def expected(manifest: Manifest, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the model gives for ``batch``, computed in float64 without ONNX: every possible output.

    Overrides are left neutral.
    """
    wide = {name: np.asarray(array, np.float64) for name, array in batch.items()}
    strength = wide["src_vid"].mean(-1) + wide["src_aud"].mean(-1)  # (B, L)
    mask = wide["src_vid_mask"]
    if manifest.gating == "global":
        source = ((strength * mask).sum(1) / mask.sum(1))[:, None, None]
    elif manifest.gating == "elementwise":
        source = wide["src_vid"][..., :CHANNELS]
    else:
        source = strength[..., None]
    layers = max(manifest.layers, 1)
    result = {
        f"gate_{kind}": np.tanh(np.stack([factor * (layer + 1) * source for layer in range(layers)], axis=1))
        for kind, factor in FACTOR.items()
    }
    moved = np.stack([(layer + 1) * np.abs(strength) for layer in range(layers)], axis=1)
    result |= {f"contribution_{kind}": moved for kind in FACTOR}
    grid = np.outer(np.arange(layers) + 1, np.arange(len(SUMMARY_FIELDS)) + 1)
    result |= {f"summary_{kind}": mask.sum(1)[:, None, None] * grid for kind in FACTOR}
    if "src_txt" not in wide:
        return result
    word_mask = wide["src_txt_mask"]
    text = (wide["src_txt"].mean(-1) * word_mask).sum(1) / word_mask.sum(1)  # (B,)
    q = np.arange(QUERIES)
    foreground = text[:, None] * (q + 1)
    result["pred_logits"] = np.stack([foreground, np.zeros_like(foreground)], axis=-1)
    edges = np.stack([(text[:, None] + q) / 2, text[:, None] - q], axis=-1)
    result["pred_spans"] = 1 / (1 + np.exp(-edges))
    result["saliency_scores"] = strength * (1 + text[:, None]) * mask
    return result


def _value(tensor: Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, list(tensor.axes))


class _Builder:
    """Adds nodes to a graph by calling: ``build("Add", a, b)`` returns the name of the result."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph

    def __call__(self, operator: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        name = out or f"v{len(self.graph.node)}"
        self.graph.node.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def ints(self, *values: int) -> str:
        return self._constant(np.asarray(values, np.int64))

    def floats(self, values: np.ndarray) -> str:
        return self._constant(values.astype(np.float32))

    def _constant(self, values: np.ndarray) -> str:
        name = f"c{len(self.graph.initializer)}"
        self.graph.initializer.append(cast(Any, numpy_helper.from_array(values, name)))
        return name
