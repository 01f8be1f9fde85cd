"""Capturing code that asks how long its input is: an ``if`` on the number of clips goes one way in a capture.

The way of long inputs is captured. Code asks such things in order to leave out slices that would be empty
(``if T - k > 0: out[:, :T - k] = …``); in the captured graph these slices end at 0 instead of before it,
which leaves them out as well. Whether that is all that the code asks for is not known from the graph: whoever
captures compares the result with the code at every shorter length (:func:`assumed_lengths`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import Graph, Node

FreeAxes = tuple[str | int, ...]

_SLICE = torch.ops.aten.slice.Tensor
# Where a slice has its start and its end among its arguments (input, axis, start, end, step).
_BOUNDS = (2, 3)


def capture_long(
    model: nn.Module, example: Mapping[str, Tensor], axes: Mapping[str, FreeAxes]
) -> ExportedProgram:
    """Capture ``model`` on an ``example`` that is longer than any length the code asks for.

    Raises whatever torch.export raises.
    """
    free = {
        name: {i: Dim.DYNAMIC for i, axis in enumerate(axes[name]) if isinstance(axis, str)}
        for name in example
    }
    program = torch.export.export(
        model, (), dict(example), dynamic_shapes=free, prefer_deferred_runtime_asserts_over_guards=True
    )
    _end_at_zero(program.graph)
    program.graph_module.recompile()
    return program


def assumed_lengths(
    program: ExportedProgram, axes: Mapping[str, FreeAxes]
) -> dict[str, tuple[int, int | None]]:
    """By axis, the shortest length that the capture took for granted, and the longest or None."""
    found: dict[str, tuple[int, int | None]] = {}
    for node in program.graph.nodes:
        value: Any = node.meta.get("val")
        if node.op != "placeholder" or node.name not in axes or not isinstance(value, Tensor):
            continue
        for axis, length in zip(axes[node.name], value.shape, strict=True):
            if not isinstance(axis, str) or not isinstance(length, torch.SymInt):
                continue
            known: Any = program.range_constraints.get(length.node.expr)
            if known is not None:
                low, high = int(known.lower), known.upper
                bound = int(high) if high.is_Integer and int(high) < 1_000_000 else None
                found[axis] = low, bound
    return found


def _end_at_zero(graph: Graph) -> None:
    """Let no slice begin or end at a length below 0 that was not below 0 in the capture."""
    bounded: dict[Node, Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target is not _SLICE:
            continue
        for i in _BOUNDS:
            length = node.args[i] if len(node.args) > i else None
            if not isinstance(length, Node) or not isinstance(length.meta.get("val"), torch.SymInt):
                continue
            if length not in bounded:
                with graph.inserting_after(length):
                    bounded[length] = graph.call_function(torch.sym_max, (length, 0))
                bounded[length].meta["val"] = torch.sym_max(length.meta["val"], 0)
            node.update_arg(i, bounded[length])
