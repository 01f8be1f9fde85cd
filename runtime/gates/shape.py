"""What gates look like, said once; manifest rows, tensors and the gating's name follow from it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..array_types import Float32s
from .gatings import gating_of_form
from .vocabulary import Activation, ActsAs, GateOrigin, gate_name, gate_output

Range = tuple[float, float]

# Float32 rounds a tanh's 1 at most this far up.
_ROUNDING = 1e-6


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

    @property
    def per_clip(self) -> bool:
        """Whether it has a value per clip; if not, one per video."""
        return self.axes[2] != "1"


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


@dataclass(frozen=True)
class LayerGate:
    """One layer's gate of one kind.

    - ``layer``: the fusion layer, from 0. ``range``: smallest and largest value it can take by itself.
    - ``acts_as``, ``activation``: as in :class:`Gate`.
    """

    layer: int
    range: Range
    acts_as: ActsAs = "g"
    activation: Activation | None = None


@dataclass(frozen=True)
class GateShape:
    """The gates of one kind in all layers of a model; stacked they are (B, layer, L | 1, d | 1).

    - ``kind``: ``attention``, ``ffn``, or what the model calls it.
    - ``per_clip``: whether a layer has one gate per clip; if not, one per video.
    - ``channels``: 1, or the d channels of the stream that are gated one by one.
    - ``layers``: in the order in which they are stacked.
    """

    kind: str
    per_clip: bool
    channels: int
    layers: tuple[LayerGate, ...]

    @property
    def output(self) -> str:
        """The graph output that holds them."""
        return gate_output(self.kind)

    @property
    def range(self) -> Range:
        """Smallest and largest value of any layer."""
        return min(one.range[0] for one in self.layers), max(one.range[1] for one in self.layers)

    @property
    def sizes(self) -> tuple[str | int, ...]:
        """The stacked gates' axes: a name where the length is free, else the length."""
        return ("batch", len(self.layers), "clip" if self.per_clip else 1, self.channels)

    @property
    def axes(self) -> tuple[str, ...]:
        """The stacked gates' axes by name; ``"1"`` is an axis of length one."""
        return ("batch", "layer", "clip" if self.per_clip else "1", "channel" if self.channels > 1 else "1")

    def size_in(self, samples: int, clips: int) -> tuple[int, int, int, int]:
        """Lengths of the axes in a batch of ``samples``, the longest of ``clips``."""
        return samples, len(self.layers), clips if self.per_clip else 1, self.channels

    def tensor(self) -> Tensor:
        """The graph output as the manifest declares it."""
        return Tensor(self.output, self.sizes)

    def rows(self, source: GateOrigin | None = None) -> tuple[Gate, ...]:
        """The manifest's rows, one per layer; ``source`` is who says that these are gates."""
        return tuple(
            Gate(
                name=gate_name(one.layer, self.kind),
                kind=self.kind,
                layer=one.layer,
                output=self.output,
                index=place,
                axes=self.axes,
                range=one.range,
                acts_as=one.acts_as,
                activation=one.activation,
                source=source,
            )
            for place, one in enumerate(self.layers)
        )


def rows_of(shapes: Iterable[GateShape], source: GateOrigin | None = None) -> tuple[Gate, ...]:
    """The manifest's rows of all kinds, one kind after the other."""
    return tuple(row for shape in shapes for row in shape.rows(source))


def gating_name(shapes: Collection[GateShape]) -> str:
    """What gates are called that have a value per clip, or per channel, where any kind of them has."""
    wide = any(shape.channels > 1 for shape in shapes)
    per_clip = any(shape.per_clip for shape in shapes)
    return gating_of_form(per_clip=per_clip, per_channel=wide)


@dataclass
class SeenGates:
    """What the gates of one kind looked like wherever they were seen; they are not declared.

    ``layers``: how many. ``per_clip``, ``channels``: as in :class:`GateShape`. ``lowest``, ``highest``:
    of the finite values.
    """

    kind: str
    layers: int = 0
    per_clip: bool = False
    channels: int = 1
    lowest: float = math.inf
    highest: float = -math.inf

    def see(self, layers: Iterable[Float32s]) -> None:
        """Take in the gates of each layer, (…, L | 1, d | 1)."""
        self.layers = 0
        for values in layers:
            self.layers += 1
            self.per_clip |= values.shape[-2] > 1
            self.channels = max(self.channels, values.shape[-1])
            finite = np.isfinite(values)
            self.lowest = min(self.lowest, float(values.min(where=finite, initial=math.inf)))
            self.highest = max(self.highest, float(values.max(where=finite, initial=-math.inf)))

    @property
    def assumed_range(self) -> Range:
        """−1 to 1, or, where a value lies beyond, as far as the largest goes on both sides."""
        largest = max((abs(one) for one in (self.lowest, self.highest) if math.isfinite(one)), default=1.0)
        largest = largest if largest > 1 + _ROUNDING else 1.0
        return -largest, largest

    @property
    def seen_range(self) -> Range:
        """As far as the largest value goes: on both sides, or from 0 where none is negative."""
        largest = max((abs(one) for one in (self.lowest, self.highest) if math.isfinite(one)), default=0.0)
        largest = largest or 1.0
        return (-largest if self.lowest < 0 else 0.0), largest

    def shape(self, range_: Range, acts_as: Mapping[int, ActsAs] | None = None) -> GateShape:
        """The shape, with one range for all layers; ``acts_as`` by layer where it is known."""
        said = acts_as or {}
        layers = tuple(LayerGate(layer, range_, said.get(layer, "g")) for layer in range(self.layers))
        return GateShape(self.kind, self.per_clip, self.channels, layers)
