"""Node names that say which part of the model a node belongs to: ``fusion.2/linear_14``.

A profile of the graph can then say how much time each part takes, and an error of the runtime where it was.
Parts of a rebuilt model: ``projection.text``, ``projection.video``, ``projection.audio``, ``fusion.0`` …,
``gates`` (stacking them), ``t2v``, ``encoder``, ``decoder``, ``heads`` and ``other``. In a user's own model a
part is the first two names of the module's path.
"""

from __future__ import annotations

import ast
import re

import onnx_ir

# Where torch.onnx keeps the modules around a node, outermost first, and the node's own name last.
_SCOPES = "pkg.torch.onnx.name_scopes"

# A module's path in the captured graph, and the part it belongs to; the first that matches counts.
_PARTS: tuple[tuple[str, str], ...] = (
    (r"model\.(input_txt_proj|txt_position_embed)\b.*", "projection.text"),
    (r"model\.(input_vid_proj|fusion\.video_proj)\b.*", "projection.video"),
    (r"model\.(input_aud_proj|fusion\.audio_(proj|norm))\b.*", "projection.audio"),
    (r"model\.fusion\.fusion_layers\.(\d+)\b.*", r"fusion.\1"),
    (r"model\.fusion", "gates"),
    (r"model\.transformer\.t2v_encoder\b.*", "t2v"),
    (r"model\.transformer\.encoder\b.*", "encoder"),
    (r"model\.transformer\.decoder\b.*", "decoder"),
    (r"model\.(class_embed|span_embed|saliency_\w+)\b.*", "heads"),
    (r"(?:model\.)?([^.]+(?:\.[^.]+)?).*", r"\1"),
)


def name_by_part(graph: onnx_ir.Graph) -> None:
    """Name every node ``part/name``; names stay unique. The scopes' metadata must still be there."""
    seen: set[str] = set()
    for number, node in enumerate(graph):
        scopes: list[str] = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        name = f"{part_of(scopes)}/{scopes[-1] if scopes else node.op_type.lower()}"
        node.name = name if name not in seen else f"{name}.{number}"
        seen.add(node.name)


def part_of(scopes: list[str]) -> str:
    """The part of a node with these scopes."""
    path = scopes[-2] if len(scopes) > 1 else ""
    if path.startswith("_"):  # the capture's own, for nodes of no module
        return "other"
    for pattern, part in _PARTS:
        if re.fullmatch(pattern, path):
            return re.sub(pattern, part, path)
    return "other"
