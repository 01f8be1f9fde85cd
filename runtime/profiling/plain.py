"""The plain sibling of an exported ONNX file: the same graph without gates among its outputs.

What is cut: the outputs that hold gates, contributions or statistics of gates, and every node, weight and
input that only they need. What is left computes the predictions as it did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableSequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from ..gates.manifest import Manifest
from ..session.model_file import ModelFile, write_manifest_onnx


def why_no_plain(manifest: Manifest) -> str | None:
    """Why a file has no plain sibling to be compared with; None where it has one."""
    if manifest.format != "onnx":
        return "only for ONNX files"
    if not _tracking_outputs(manifest):
        return "this file tracks no gates: it is the plain one"
    if not _predictions(manifest):
        return "this graph ends at its gates: without them nothing is left"
    return None


def write_plain(model: ModelFile, path: Path) -> None:
    """Write the plain sibling of ``model``, which has one, to ``path``, with a manifest of its own."""
    proto = onnx.load_model_from_string(model.content)
    kept = _predictions(model.manifest)
    cut_outputs(proto, kept)
    inputs = {value.name for value in proto.graph.input}
    manifest = replace(
        model.manifest,
        inputs=tuple(tensor for tensor in model.manifest.inputs if tensor.name in inputs),
        outputs=tuple(tensor for tensor in model.manifest.outputs if tensor.name in kept),
        outputs_kind="plain",
        contributions={},
        summaries={},
        overrides={
            kind: override
            for kind, override in model.manifest.overrides.items()
            if {override.scale, override.offset} <= inputs
        },
    )
    write_manifest_onnx(proto, manifest)
    path.write_bytes(proto.SerializeToString())


def cut_outputs(model: ModelProto, kept: set[str]) -> None:
    """Leave of ``model`` the outputs ``kept`` and what they need, in place and in its order."""
    graph = model.graph
    needed = set(kept)
    for place in reversed(range(len(graph.node))):  # a graph's nodes come after what they read
        if needed & set(graph.node[place].output):
            needed.update(_reads(graph.node[place]))
        else:
            del graph.node[place]
    _drop(graph.output, lambda value: value.name not in kept)
    for values in (graph.input, graph.initializer, graph.value_info):
        _drop(values, lambda value: value.name not in needed)
    _drop(graph.sparse_initializer, lambda tensor: tensor.values.name not in needed)


def _drop(values: MutableSequence[Any], unwanted: Callable[[Any], bool]) -> None:
    for place in reversed(range(len(values))):
        if unwanted(values[place]):
            del values[place]


def _reads(node: NodeProto) -> Iterator[str]:
    """What ``node`` reads, and what graphs inside it read from outside."""
    yield from node.input
    for attribute in node.attribute:
        for graph in _graphs(attribute):
            for inner in graph.node:
                yield from _reads(inner)
            yield from (value.name for value in graph.output)


def _graphs(attribute: AttributeProto) -> Iterator[GraphProto]:
    if attribute.type == AttributeProto.GRAPH:
        yield attribute.g
    yield from attribute.graphs


def _tracking_outputs(manifest: Manifest) -> set[str]:
    gates = {manifest.gate_output(kind) for kind in manifest.tracked_kinds}
    summaries = {summary.output for summary in manifest.summaries.values()}
    return gates | summaries | set(manifest.contributions.values())


def _predictions(manifest: Manifest) -> set[str]:
    return set(manifest.output_names) - _tracking_outputs(manifest)
