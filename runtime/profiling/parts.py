"""Which part of the model a node of the graph belongs to.

The exporter names nodes ``<part>/<anything>``. ONNX Runtime's optimiser makes nodes of its own out of them,
under other names or none, but what they compute still has the name it had in the file.
"""

from __future__ import annotations

import re

from onnx import GraphProto

OTHER = "other"
_PART = re.compile(r"(projection\.(?:text|video|audio)|fusion\.\d+|t2v|encoder|decoder|heads|gates)/")
_ORDER = (
    "projection.text",
    "projection.video",
    "projection.audio",
    "fusion",
    "gates",
    "t2v",
    "encoder",
    "decoder",
    "heads",
    OTHER,
)


def named_part(node: str) -> str | None:
    """The part that the name of a node tells, if it tells one."""
    found = _PART.match(node)
    return found.group(1) if found else None


def parts_of_nodes(exported: GraphProto, optimised: GraphProto) -> dict[str, str]:
    """The part of each node of ``optimised``, by name: its own, or that of the node of ``exported`` which
    computes the same value; :data:`OTHER` where that has none.

    Nodes that compute what no node of ``exported`` does (a copy, another layout) are left out.
    """
    owners = {
        value: named_part(node.name) or OTHER for node in exported.node for value in node.output if value
    }
    found: dict[str, str] = {}
    for node in optimised.node:
        own = [owners[value] for value in node.output if value in owners]
        part = named_part(node.name) or (own[0] if own else None)
        if part is not None:
            found[node.name] = part
    return found


def in_order(part: str) -> tuple[int, int]:
    """A key that sorts parts as a sample passes them."""
    head, _, layer = part.partition(".")
    return (_ORDER.index(head), int(layer)) if layer.isdigit() else (_ORDER.index(part), 0)
