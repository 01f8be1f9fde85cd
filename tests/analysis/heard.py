"""A model that finds moments by what it hears, through one gate only, and a dataset in which it is right.

Of the model's gates only ``attention`` of layer 0 does anything; layer 1 and the FFN gates lead nowhere:

    heard               = src_aud[..., 0]                                      1 in loud clips, 0 in others
    gate_attention      = tanh(2 · heard), tanh(heard)                         (B, 2, L, 1)
    gate_ffn            = tanh(mean_D(src_vid)), tanh(2 · mean_D(src_vid))
    saliency_scores     = gate_attention[0] · heard + 0.1 · mean_D(src_vid)
    pred_spans[q]       = Σ softmax(10 · saliency) · clip's middle, 0.2 · (q + 1)
    pred_logits[q]      = (-q, 0)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gatescope.runtime.gates.manifest import Manifest
from gatescope.runtime.session.model_file import write_manifest_onnx

from ..runtime.tiny_model import QUERIES, tiny_manifest

CLIPS, LAYERS = 10, 2


def heard_model(path: Path, slope: float = 2.0, **fields: Any) -> Manifest:
    """Write it to ``path``; ``slope`` replaces the 2 before ``heard``, ``fields`` those of the manifest."""
    manifest = replace(tiny_manifest("clipwise", LAYERS, overridable=True), **fields)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def constant(values: Any, kind: Any = np.float32) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values, kind), f"c{len(constants)}"))
        return constants[-1].name

    def node(operator: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        name = out or f"v{len(nodes)}"
        nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def channels(name: str, start: int, end: int) -> str:
        return node("Slice", name, *(constant([at], np.int64) for at in (start, end, 2)))

    heard = channels("src_aud", 0, 1)  # (B, L, 1)
    seen = node("ReduceMean", channels("src_vid", 0, 5), constant([-1], np.int64), keepdims=1)
    steps = {"attention": (heard, [slope, 1.0]), "ffn": (seen, [1.0, 2.0])}
    for kind, (source, slopes) in steps.items():
        stacked = node("Unsqueeze", source, constant([1], np.int64))
        gate = node("Tanh", node("Mul", stacked, constant(np.reshape(slopes, (1, LAYERS, 1, 1)))))
        override = manifest.overrides[kind]
        node("Add", node("Mul", gate, override.scale), override.offset, out=f"gate_{kind}")
        for name, value in ((override.scale, 1.0), (override.offset, 0.0)):
            neutral = np.full((1, LAYERS, 1, 1), value, np.float32)
            constants.append(numpy_helper.from_array(neutral, name))
    first = node("Gather", "gate_attention", constant(0, np.int64), axis=1)
    told = node("Add", node("Mul", first, heard), node("Mul", seen, constant(0.1)))
    mask = node("Unsqueeze", "src_vid_mask", constant([-1], np.int64))
    node("Squeeze", node("Mul", told, mask), constant([-1], np.int64), out="saliency_scores")
    hidden = node("Mul", node("Sub", mask, constant(1.0)), constant(1000.0))
    weights = node("Softmax", node("Add", node("Mul", told, constant(10.0)), hidden), axis=1)
    start, end = channels("src_vid", 5, 6), channels("src_vid", 6, 7)  # the TEF
    middle = node("Mul", node("Add", start, end), constant(0.5))
    centre = node("ReduceSum", node("Mul", weights, middle), constant([1], np.int64), keepdims=1)  # (B, 1, 1)
    q = np.arange(QUERIES, dtype=np.float32)
    spans = np.stack([np.ones_like(q), np.zeros_like(q)], 1)[None]
    widths = np.stack([np.zeros_like(q), 0.2 * (q + 1)], 1)[None]
    node("Add", node("Mul", centre, constant(spans)), constant(widths), out="pred_spans")
    nothing = node("Mul", centre, constant(0.0))
    node("Add", nothing, constant(np.stack([-q, np.zeros_like(q)], 1)[None]), out="pred_logits")

    def value(tensor: Any) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, list(tensor.axes))

    graph = helper.make_graph(
        nodes, "heard", [*map(value, manifest.inputs)], [*map(value, manifest.outputs)], cast(Any, constants)
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    write_manifest_onnx(model, manifest)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return manifest


def heard_dataset(root: Path, videos: int = 12, queries: int = 2, *, seed: int = 0) -> Path:
    """Write it under ``root``: loud clips in every video, asked for by its queries; gives the annotations."""
    rng = np.random.default_rng(seed)
    folders = ("slowfast_features", "clip_features", "pann_features", "clip_text_features")
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    rows: list[Mapping[str, Any]] = []
    for video in range(videos):
        vid, clips = f"v{video}", CLIPS - video % 3
        start = int(rng.integers(0, clips - 2))
        loud = np.isin(np.arange(clips), [start, start + 1])
        for folder, width in zip(folders[:2], (3, 2), strict=True):
            np.savez(root / folder / f"{vid}.npz", features=rng.standard_normal((clips, width)))
        np.save(root / folders[2] / f"{vid}.npy", np.where(loud[:, None], [1.0, 0, 0], [0, 1.0, 0]))
        for query in range(queries):
            qid = 100 * video + query
            words = rng.standard_normal((3, 4)).astype(np.float32)
            np.savez(root / folders[3] / f"qid{qid}.npz", last_hidden_state=words)
            rows.append(
                {
                    "qid": qid,
                    "query": f"what is heard, {query}",
                    "vid": vid,
                    "duration": 2 * clips,
                    "relevant_windows": [[2 * start, 2 * start + 4]],
                    "relevant_clip_ids": [start, start + 1],
                    "saliency_scores": [[4, 4, 3], [4, 3, 4]],
                }
            )
    path = root / "val.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
