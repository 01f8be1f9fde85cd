"""The manifest of a model that was just exported."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import onnx

from ..runtime.manifest import Gate, Manifest, Tensor
from .checkpoint import Checkpoint
from .facts import Description
from .onnx_graph import OPSET

PREDICTIONS = ("pred_logits", "pred_spans", "saliency_scores")
GATE_OUTPUTS = {"attention": "gate_attention", "ffn": "gate_ffn"}


def build_manifest(checkpoint: Checkpoint, description: Description, graph: onnx.GraphProto) -> Manifest:
    """Everything ``graph`` has to say about itself, without a certificate yet."""
    config = description.config
    outputs = tuple(_tensor(value) for value in graph.output)
    axes = {
        "global": ("batch", "layer", "1", "1"),
        "clipwise": ("batch", "layer", "clip", "1"),
        "elementwise": ("batch", "layer", "clip", "channel"),
    }[config.gating]
    names = {tensor.name for tensor in outputs}
    return Manifest(
        family=description.family,
        gating=config.gating,
        gates=tuple(
            Gate(
                name=f"fusion.{layer}.{kind}",
                kind=kind,
                layer=layer,
                output=output,
                index=layer,
                axes=axes,
                range=config.gate_range[kind],
            )
            for kind, output in GATE_OUTPUTS.items()
            if output in names
            for layer in range(config.fusion_layers)
        ),
        inputs=tuple(_tensor(value) for value in graph.input),
        outputs=outputs,
        preprocessing=description.preprocessing,
        facts=description.facts,
        checkpoint_sha256=checkpoint.sha256,
        versions=_versions(),
        opset=OPSET,
        precision="float32",
        batching=config.batching,
        outputs_kind="tracked",
        depends_on_text=False,
        eval_batch_size=description.eval_batch_size,
        warnings=description.warnings,
    )


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    axes = tuple(axis.dim_param or axis.dim_value for axis in kind.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return Tensor(value.name, axes, dtype)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("gatescope", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
