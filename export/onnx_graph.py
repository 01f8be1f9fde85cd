"""From the PyTorch model to an ONNX graph that holds what inference needs and nothing else."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import onnx_ir
import torch
from onnx_ir.passes.common import (
    ClearMetadataAndDocStringPass,
    RemoveUnusedFunctionsPass,
    RemoveUnusedNodesPass,
)
from torch import Tensor, nn

from ..runtime.errors import ExportError

# Opset 20 with IR 10 runs in every ONNX Runtime this project supports; opset 23's Attention does not.
OPSET = 20
IR_VERSION = 10

# Clips and words of the traced samples. The three axes must have different lengths, none of them 1: an axis
# traced with length 1 is taken for a constant.
TRACE_LENGTHS = ((7, 4), (5, 5), (2, 1))

AXES: dict[str, tuple[str, ...]] = {
    "src_txt": ("batch", "word"),
    "src_txt_mask": ("batch", "word"),
    "src_vid": ("batch", "clip"),
    "src_vid_mask": ("batch", "clip"),
    "src_aud": ("batch", "clip"),
    "src_aud_mask": ("batch", "clip"),
}


def to_onnx(
    model: nn.Module, example: Mapping[str, Tensor], output_names: Sequence[str], *, opset: int = OPSET
) -> onnx.ModelProto:
    """Capture ``model`` as one ONNX graph whose batch, clip and word axes are free down to length 1.

    ``example`` holds the full set of inputs at the traced sizes. Ensures: every submodule was in eval mode,
    outputs are called ``output_names`` in that order, no input, node or initialiser is unused, no source
    path or other trace of the exporting machine is inside, and the ONNX checker accepts it.

    Raises :class:`ExportError` naming what could not be exported.
    """
    _refuse_training_mode(model)
    program = _capture(model, example, output_names, opset)
    graph = program.model.graph
    RemoveUnusedNodesPass()(program.model)
    RemoveUnusedFunctionsPass()(program.model)
    ClearMetadataAndDocStringPass()(program.model)
    program.model.metadata_props.clear()
    graph.metadata_props.clear()
    for value in [*graph.inputs, *graph.outputs, *graph.initializers.values()]:
        value.metadata_props.clear()
    used = [value for value in graph.inputs if value.uses()]
    graph.inputs.clear()
    graph.inputs.extend(used)
    proto = onnx_ir.to_proto(program.model)
    proto.ir_version = IR_VERSION
    _check(proto, output_names, opset)
    return proto


def _refuse_training_mode(model: nn.Module) -> None:
    # The exporter looks at the root alone; one submodule left in training mode would export its dropout.
    training = [name or "the model itself" for name, module in model.named_modules() if module.training]
    if training:
        raise ExportError(
            "the model is in training mode",
            received=", ".join(training[:5]),
            expected="eval mode in every submodule",
            fix="call model.eval() before exporting",
        )


def _capture(model: nn.Module, example: Mapping[str, Tensor], output_names: Sequence[str], opset: int) -> Any:
    axes = {name: torch.export.Dim(name, min=1) for name in ("batch", "clip", "word")}
    dynamic = {name: {i: axes[axis] for i, axis in enumerate(AXES[name])} for name in example}
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                (),
                kwargs=dict(example),
                dynamo=True,
                opset_version=opset,
                external_data=False,
                dynamic_shapes=dynamic,
                input_names=list(example),
                output_names=list(output_names),
                verbose=False,
            )
    except Exception as error:  # the exporter raises whatever failed inside
        raise ExportError(
            "PyTorch could not export the model",
            received=_innermost(error),
            fix="run again with --debug for PyTorch's own report",
        ) from error
    if program is None:
        raise ExportError("PyTorch exported nothing")
    return program


@contextmanager
def _quiet() -> Generator[None]:
    """Hold back messages for people who write exporters (renamed axes, nodes that were not folded)."""
    talkers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in talkers]
    for logger in talkers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(talkers, levels, strict=True):
            logger.setLevel(level)


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])}"


def _check(proto: onnx.ModelProto, output_names: Sequence[str], opset: int) -> None:
    names = [value.name for value in proto.graph.output]
    if names != list(output_names):
        raise ExportError(
            "the graph's outputs are not the model's", received=str(names), expected=str(list(output_names))
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
