"""What a gate looks like, and where an exported graph holds it."""

from __future__ import annotations

from dataclasses import dataclass

from .vocabulary import Activation, ActsAs, GateOrigin


@dataclass(frozen=True)
class Gate:
    """One gate of one fusion layer, and where to find it in the outputs.

    - ``name``: ``fusion.{layer}.{kind}``.
    - ``kind``: ``attention``, ``ffn``, or what the model calls it.
    - ``layer``: the fusion layer, from 0.
    - ``output``: the graph output that holds it, stacked over layers.
    - ``index``: its place on that output's layer axis.
    - ``axes``: the output's axes in order; ``"1"`` is an axis of length one.
    - ``range``: smallest and largest value the gate can take by itself; overrides may leave it.
    - ``acts_as``: what multiplies the branch: the gate (``g``), or 1 plus the gate (``1+g``, FiLM), where a
      gate of 0 leaves the branch as it is and −1 shuts it.
    - ``activation``: what bounds it (``tanh``, ``sigmoid``); None where that is not known.
    - ``source``: who says that this is a gate: a forward pass we have (``family``), the user's own code
      (``code``), or what a live model did (``live``); None in files of format 1 and in imported logs.
    """

    name: str
    kind: str
    layer: int
    output: str
    index: int
    axes: tuple[str, ...]
    range: tuple[float, float]
    acts_as: ActsAs = "g"
    activation: Activation | None = None
    source: GateOrigin | None = None


@dataclass(frozen=True)
class Tensor:
    """One input or output of the graph: its axes (a name, or a number where the length is fixed).

    ``role`` of an input: ``video``, ``audio``, ``text``, ``mask:NAME`` (of the input NAME), or ``other``;
    None for outputs.
    """

    name: str
    axes: tuple[str | int, ...]
    dtype: str = "float32"
    role: str | None = None


_ROLES = {"src_vid": "video", "src_aud": "audio", "src_txt": "text"}


def role_of(name: str) -> str:
    """The role of the input ``name`` of a moment retrieval model."""
    masked = name.removesuffix("_mask")
    return f"mask:{masked}" if masked != name and masked in _ROLES else _ROLES.get(name, "other")
