"""From a captured program to an ONNX graph that holds what inference needs and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir
import torch
from numpy.typing import NDArray
from onnx_ir.passes.common import (
    ClearMetadataAndDocStringPass,
    RemoveUnusedFunctionsPass,
    RemoveUnusedNodesPass,
)
from torch.export import ExportedProgram

from ...runtime.errors import ExportError
from .capture import innermost, quiet, unhindered
from .parts import name_by_part

# Opset 20 with IR 10 runs in every ONNX Runtime this project supports; opset 23's Attention does not.
OPSET = 20
IR_VERSION = 10


def to_onnx(
    program: ExportedProgram,
    input_names: Sequence[str],
    output_names: Sequence[str],
    *,
    defaults: Mapping[str, NDArray[np.float32]] | None = None,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """Translate ``program`` to one ONNX graph.

    ``defaults`` are values of inputs that may be left out and broadcast. Ensures: inputs and outputs have
    these names in this order, nothing in the graph is unused, nodes are named by the part of the model they
    belong to, no source path or other trace of the exporting machine is inside, and the ONNX checker accepts
    it. Raises :class:`ExportError`.
    """
    model = _translate(program, input_names, output_names, opset)
    graph = model.graph
    RemoveUnusedNodesPass()(model)
    RemoveUnusedFunctionsPass()(model)
    name_by_part(graph)
    ClearMetadataAndDocStringPass()(model)
    model.metadata_props.clear()
    graph.metadata_props.clear()
    for value in [*graph.inputs, *graph.outputs, *graph.initializers.values()]:
        value.metadata_props.clear()
    unused = [value.name for value in graph.inputs if not value.uses()]
    if unused:
        raise ExportError(
            "the graph does not use all of its inputs",
            received=", ".join(str(name) for name in unused),
            fix="this is a fault of the export: report it with the checkpoint's sizes",
        )
    proto = onnx_ir.to_proto(model)
    proto.ir_version = IR_VERSION
    for name, value in (defaults or {}).items():
        _make_optional(proto, name, value)
    _forget_shapes(proto, defaults or {})
    _check(proto, input_names, output_names, opset)
    return proto


def _translate(
    program: ExportedProgram, input_names: Sequence[str], output_names: Sequence[str], opset: int
) -> onnx_ir.Model:
    try:
        with quiet(), unhindered():
            translated: Any = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=opset,
                external_data=False,
                input_names=list(input_names),
                output_names=list(output_names),
                verbose=False,
            )
    except Exception as error:  # the exporter raises whatever failed inside
        raise ExportError(
            "PyTorch could not translate the model to ONNX",
            received=innermost(error),
            fix="run again with --debug for PyTorch's own report",
        ) from error
    return translated.model


# The layers' place among an override's axes (batch, layer, clip, channel).
_LAYERS = 1


def _make_optional(proto: onnx.ModelProto, name: str, value: NDArray[np.float32]) -> None:
    """Give the input ``name`` a default, and free every axis but the layers': it broadcasts."""
    proto.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    declared = next(one for one in proto.graph.input if one.name == name)
    for i, axis in enumerate(declared.type.tensor_type.shape.dim):
        if i != _LAYERS:  # a model may have one layer, whose axis must not broadcast
            axis.dim_param = f"{name}_axis_{i}"


def _forget_shapes(proto: onnx.ModelProto, names: Iterable[str]) -> None:
    """Drop the recorded shapes of what is computed from ``names`` and constants alone.

    They were recorded at axes of length one, which are free now; ONNX Runtime would reuse buffers by them.
    """
    fed = set(names)
    known = {value.name for value in proto.graph.initializer} | fed
    for node in proto.graph.node:
        if node.input and known.issuperset(node.input):
            known.update(node.output)
            if not fed.isdisjoint(node.input):
                fed.update(node.output)
    kept = [value for value in proto.graph.value_info if value.name not in fed]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(kept)


def _check(
    proto: onnx.ModelProto, input_names: Sequence[str], output_names: Sequence[str], opset: int
) -> None:
    for what, values, wanted in (
        ("inputs", proto.graph.input, input_names),
        ("outputs", proto.graph.output, output_names),
    ):
        names = [value.name for value in values]
        if names != list(wanted):
            raise ExportError(
                f"the graph's {what} are not the model's", received=str(names), expected=str(list(wanted))
            )
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    if set(versions) != {""} or versions[""] != opset:
        raise ExportError(
            "the graph needs other operators than asked for",
            received=str(versions),
            expected=f"opset {opset}",
        )
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError("the exported graph is not valid ONNX", received=str(error)) from error
