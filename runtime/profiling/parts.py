"""Which part of the model a node of the graph belongs to.

The exporter names nodes ``<part>/<name>``. ONNX Runtime's optimiser makes nodes of its own out of them, under
other names or none, but what they compute still has the name it had in the file.
"""

from __future__ import annotations

from onnx import GraphProto

OTHER = "other"
# The parts of a rebuilt model, as a sample passes them; a user's own model has others.
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
)


def parts_of_nodes(exported: GraphProto, optimised: GraphProto) -> dict[str, str]:
    """The part of each node of ``optimised``, by name: that of the node of ``exported`` which computes the
    same value, :data:`OTHER` where that has none.

    Nodes that compute what no node of ``exported`` does (a copy, another layout) are left out.
    """
    owners = {value: _part(node.name) for node in exported.node for value in node.output if value}
    found: dict[str, str] = {}
    for node in optimised.node:
        own = [owners[value] for value in node.output if value in owners]
        if own:
            found[node.name] = own[0]
    return found


def in_order(part: str) -> tuple[int, int]:
    """A key that sorts parts as a sample passes them; unknown ones stay in their order, others come last."""
    head, _, layer = part.partition(".")
    if part == OTHER:
        return len(_ORDER) + 1, 0
    if head == "fusion" and layer.isdigit():
        return _ORDER.index(head), int(layer)
    return (_ORDER.index(part) if part in _ORDER else len(_ORDER)), 0


def _part(name: str) -> str:
    part, slash, _ = name.partition("/")
    return part if slash and part else OTHER
