"""The words of contract 1: what a gate, a model and an exported graph can be, each name at this one place."""

from __future__ import annotations

from typing import Literal

#: The two gates of a fusion layer, in the order in which they act on the stream.
GATE_KINDS = ("attention", "ffn")

#: What gates are called: one per layer, per clip, per clip and channel; the last is the SSM family's.
Gating = Literal["global", "clipwise", "elementwise", "global_diagstrip_ssm"]
#: The training codes whose fusion we rebuild.
Family = Literal["avigate_custom", "sigmoid", "base_avigate", "ssm", "text_first", "t2v_ffn"]

#: What multiplies the gated branch: the gate, or 1 plus the gate (FiLM).
ActsAs = Literal["g", "1+g"]
#: What bounds a gate.
Activation = Literal["tanh", "sigmoid"]
#: Who says that something is a gate: a forward pass we have, the user's own code, or a live model's doing.
GateOrigin = Literal["family", "code", "live"]

#: A moment retrieval model's predictions, in the order in which a graph returns them.
PREDICTIONS = ("pred_logits", "pred_spans", "saliency_scores")

#: What a graph returns; :mod:`gatescope.export.graph.variant` says what each is for.
OutputsKind = Literal["tracked", "plain", "gates", "summary"]
#: What a graph computes in; inputs and outputs are float32.
Precision = Literal["float32", "float16"]
#: Whether a sample's outputs are independent of its batch, or reproduce the reference's batched numbers.
Batching = Literal["exact", "reference"]
#: The kinds of files that an export writes.
FileFormat = Literal["onnx", "torchscript", "pt2"]
#: Where gates come from: a file, or a model that runs in PyTorch.
ModelFormat = Literal["onnx", "torchscript", "pt2", "live"]

#: Channels that say where a clip is, [i/L, (i+1)/L], appended to video and audio (temporal endpoints).
TEF_CHANNELS = 2

#: A value within so much of an end of its gate's range is on the rail.
RAIL = 1e-3
SUMMARY_STATISTICS = ("count", "sum", "sum_squares", "sum_abs", "min", "max", "rail_low", "rail_high")
SUMMARY_BINS = 64
#: What a ``summary`` export returns per sample, layer and gate, in this order.
SUMMARY_FIELDS = (*SUMMARY_STATISTICS, *(f"bin_{i}" for i in range(SUMMARY_BINS)))


def gate_name(layer: int, kind: str) -> str:
    """A gate's name in the manifest, ``fusion.{layer}.{kind}``."""
    return f"fusion.{layer}.{kind}"


def gate_output(kind: str) -> str:
    """The graph output that holds the gates of ``kind``, stacked over layers."""
    return f"gate_{kind}"
