"""Where a user's model has its gates: found once on real tensors, so that capturing looks at no shapes.

Two batches of different lengths are compared: an axis is the batch, or the clips, because its length changes
as theirs does, never because a number happens to be the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from ...runtime.errors import UnsupportedModelError
from ...runtime.gates.vocabulary import GATE_KINDS
from ..live.find import GatedFusion, GateLayer, no_gates_from, not_called
from ..live.gates import attention_and_ffn, memory_of
from .watch import Call, Path, Sight

_ORDER = ("batch", "clip", "channel")


@dataclass(frozen=True)
class GatePlace:
    """One gate: what the module ``owner`` returns at ``path``.

    ``axes`` says of each axis of what is returned whether it is the ``batch``, the ``clip`` or the
    ``channel``, or has the length ``1``, as it is or expanded.
    """

    owner: str
    path: Path
    axes: tuple[str, ...]
    channels: int

    @property
    def per_clip(self) -> bool:
        """Whether it has a value per clip."""
        return "clip" in self.axes

    def take(self, output: Any) -> Tensor:
        """The gate in what its owner returned, as (B, L | 1, 1 | d)."""
        for key in self.path:
            output = output[key]
        tensor = cast(Tensor, output)
        for i in reversed(range(len(self.axes))):
            if self.axes[i] == "1":
                tensor = tensor.select(i, 0)
        left = [axis for axis in self.axes if axis != "1"]
        tensor = tensor.permute([left.index(axis) for axis in _ORDER if axis in left])
        tensor = tensor if self.per_clip else tensor.unsqueeze(1)
        return tensor if "channel" in left else tensor.unsqueeze(-1)


@dataclass(frozen=True)
class Seen:
    """One pass on a batch of ``samples``, the longest of ``clips``."""

    sight: Sight
    samples: int
    clips: int


@dataclass(frozen=True)
class Places:
    """By kind, where each layer's gate is; ``channels`` of the stream that the gates act on."""

    kinds: dict[str, tuple[GatePlace, ...]]
    channels: int


def place_of(owner: str, path: Path, passes: Sequence[Seen]) -> GatePlace | None:
    """What ``owner`` returns at ``path`` as a gate; None where it does not have the shape of one."""
    tensors: list[Tensor] = []
    for one in passes:
        call = one.sight.calls.get(owner)
        found = None if call is None else call.returned.get(path)
        if found is None or not found[1].is_floating_point():
            return None
        tensors.append(found[1])
    if len({one.ndim for one in tensors}) > 1:
        return None
    axes: list[str] = []
    for i, lengths in enumerate(zip(*(one.shape for one in tensors), strict=True)):
        if all(one.stride(i) == 0 for one in tensors):  # one value, expanded along this axis
            axes.append("1")
        elif list(lengths) == [one.samples for one in passes]:
            axes.append("batch")
        elif list(lengths) == [one.clips for one in passes]:
            axes.append("clip")
        elif len(set(lengths)) == 1:
            axes.append("1" if lengths[0] == 1 else "channel")
        else:
            return None
    if axes.count("batch") != 1 or axes.count("clip") > 1 or axes.count("channel") > 1:
        return None
    channels = tensors[0].shape[axes.index("channel")] if "channel" in axes else 1
    return GatePlace(owner, path, tuple(axes), channels)


def find_places(fusion: GatedFusion, passes: Sequence[Seen]) -> Places:
    """Where each layer of ``fusion`` has its attention and its FFN gate, seen in two ``passes`` of the model.

    The passes must have different numbers of samples and clips, none of them 1. Raises
    :class:`UnsupportedModelError` where a layer returns no gates.
    """
    per_layer = [_pair(layer, fusion, passes) for layer in fusion.layers]
    kinds = {kind: tuple(pair[i] for pair in per_layer) for i, kind in enumerate(GATE_KINDS)}
    refuse_uneven(kinds)
    return Places(kinds, _channels(fusion, kinds[GATE_KINDS[0]][0], passes[0].sight))


def refuse_uneven(kinds: Mapping[str, Sequence[GatePlace]]) -> None:
    """Raise :class:`UnsupportedModelError` where gates of a kind differ in shape between layers."""
    for kind, places in kinds.items():
        if len({(place.per_clip, place.channels) for place in places}) > 1:
            raise UnsupportedModelError(
                f"the {kind} gates of this model have different shapes in different layers",
                received="; ".join(f"{p.owner}: {p.axes}" for p in places),
                expected="the same in every layer",
            )


def _pair(layer: GateLayer, fusion: GatedFusion, passes: Sequence[Seen]) -> tuple[GatePlace, GatePlace]:
    calls = passes[0].sight.calls
    if not any(name in calls for name in layer.owners):
        raise not_called(layer)
    for owner in layer.owners:
        found = _returned(owner, layer, fusion, passes) if owner in calls else None
        if found is not None:
            return found
    branches = [place_of(name, (), passes) for name in layer.branches] if layer.inline else []
    bounded = [place for place in branches if place is not None and _is_made(place, calls[place.owner])]
    if len(bounded) == len(GATE_KINDS):
        return bounded[0], bounded[1]
    last = next(name for name in reversed(layer.owners) if name in calls)
    raise no_gates_from(layer, f"{last} returned {calls[last].in_words}", branches_read=True)


def _returned(
    owner: str, layer: GateLayer, fusion: GatedFusion, passes: Sequence[Seen]
) -> tuple[GatePlace, GatePlace] | None:
    """The two gates in what ``owner`` returned; None where they are not in there."""
    call = passes[0].sight.calls[owner]
    places: dict[int, GatePlace] = {}
    shaped: list[tuple[str, Tensor]] = []
    for number, (path, (name, tensor)) in enumerate(call.returned.items()):
        place = place_of(owner, path, passes)
        if place is None or memory_of(tensor) in call.given:  # other layers' gates at best
            continue
        wide = place.channels not in {1, *fusion.channels}
        stream = number == 0 and place.per_clip and place.channels > 1
        if layer.inline and (wide or stream):
            continue
        places[id(tensor)] = place
        shaped.append((name, tensor))
    if layer.inline and len(shaped) > len(GATE_KINDS):
        shaped = [(name, one) for name, one in shaped if memory_of(one) in call.made]
    pair = attention_and_ffn(shaped)
    return None if pair is None else (places[id(pair[0])], places[id(pair[1])])


def _is_made(place: GatePlace, call: Call) -> bool:
    return memory_of(call.returned[place.path][1]) in call.made


def _channels(fusion: GatedFusion, place: GatePlace, sight: Sight) -> int:
    """Channels of what the first layer's gate acts on."""
    layer = sight.calls.get(fusion.layers[0].name)
    if layer is not None and layer.stream is not None:
        return layer.stream.channels
    gate = memory_of(sight.calls[place.owner].returned[place.path][1])
    acted = (one.branch.shape[-1] for one in sight.products if memory_of(one.gate) == gate)
    return int(next(acted, max(fusion.channels)))
