"""Capturing a graph with ``torch.export``: one program from which ONNX and pt2 files are made."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import config as recording

from ...runtime.errors import ExportError
from .failure import failed_in, is_ours
from .lengths import FreeAxes, assumed_lengths, capture_long

# Clips and words of the traced samples. The three axes must have different lengths, none of them 1: an axis
# traced with length 1 is taken for a constant.
TRACE_LENGTHS = ((7, 4), (5, 5), (2, 1))

_CHECKS = {
    torch.ops.aten._assert_scalar.default,
    torch.ops.aten._assert_async.msg,
    torch.ops.aten.sym_constrain_range.default,
    torch.ops.aten.sym_constrain_range_for_size.default,
}


def capture(
    model: nn.Module,
    example: Mapping[str, Tensor],
    axes: Mapping[str, FreeAxes],
    longer: Mapping[str, Tensor] | None = None,
) -> ExportedProgram:
    """Capture ``model`` called with ``example`` by keyword; named ``axes`` stay free down to length 1.

    A user's code may hold lines that mean something else at other lengths, such as shifting a batch by one.
    What such a line assumes of the lengths would fix an axis: it is left out, and whoever captures compares
    the result at those lengths too. ``longer`` is another example, for code that asks how long its input is
    (see :mod:`~gatescope.export.graph.lengths`).

    Raises :class:`ExportError` where a submodule is in training mode or the model cannot be captured.
    """
    refuse_training_mode(model)
    names = {axis for one in axes.values() for axis in one if isinstance(axis, str)}
    free = {name: Dim(name, min=1) for name in sorted(names)}
    shapes = {
        name: {i: free[axis] for i, axis in enumerate(axes[name]) if isinstance(axis, str)}
        for name in example
    }
    foreign = not is_ours(model)
    try:
        with quiet(), unhindered():
            program = torch.export.export(
                model,
                (),
                dict(example),
                dynamic_shapes=shapes,
                prefer_deferred_runtime_asserts_over_guards=foreign,
            )
    except Exception as error:  # the capture raises whatever failed inside
        if not foreign or longer is None or "Constraints violated" not in str(error):
            raise failed_in(model, "its graph was captured", error) from error
        program = _captured_long(model, longer, axes)
    if foreign:
        _drop_asserts(program)
    for node in program.graph.nodes:
        # Paths and lines of the exporting machine's files do not belong in the exported file.
        node.meta.pop("stack_trace", None)
    return program


def _captured_long(
    model: nn.Module, example: Mapping[str, Tensor], axes: Mapping[str, FreeAxes]
) -> ExportedProgram:
    try:
        with quiet(), unhindered():
            program = capture_long(model, example, axes)
    except Exception as error:  # as above
        raise failed_in(model, "its graph was captured", error) from error
    for axis, (_, longest) in assumed_lengths(program, axes).items():
        if longest is not None:
            raise ExportError(
                f"the model's code takes another way where the {axis} axis is longer than {longest}",
                received=f"an if on that length, met with {longest} or less",
                expected="code that does the same at every length",
            )
    return program


def _drop_asserts(program: ExportedProgram) -> None:
    """Take out the checks of lengths that were put off until the program runs."""
    graph = program.graph
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and node.target in _CHECKS:
            graph.erase_node(node)
    graph.eliminate_dead_code()
    program.graph_module.recompile()


def refuse_training_mode(model: nn.Module) -> None:
    """Raise :class:`ExportError` if any submodule is in training mode.

    The exporters look at the root alone; one submodule left in training mode would export its dropout.
    """
    training = [name or "the model itself" for name, module in model.named_modules() if module.training]
    if training:
        raise ExportError(
            "the model is in training mode",
            received=", ".join(training[:5]),
            expected="eval mode in every submodule",
            fix="call model.eval() before exporting",
        )


@contextmanager
def quiet() -> Generator[None]:
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


@contextmanager
def unhindered() -> Generator[None]:
    """Do without what takes a quarter of the time of capturing and translating, and is not needed.

    Hundreds of thousands of objects that live until the end keep the garbage collector busy, and PyTorch
    records for every step, of sizes too, where in whose files its line stands.
    """
    collecting, silent = gc.isenabled(), getattr(recording, "do_not_emit_stack_traces", False)
    gc.disable()
    recording.do_not_emit_stack_traces = True
    try:
        yield
    finally:
        recording.do_not_emit_stack_traces = silent
        if collecting:
            gc.enable()


def innermost(error: BaseException) -> str:
    """The first cause of a chain of errors, in at most three lines."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])}"
