"""Where a user's model has its gates: found once on real tensors, so that capturing looks at no shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...runtime.errors import UnsupportedModelError
from ...runtime.gates.vocabulary import GATE_KINDS
from ..live.clips import named_arguments
from ..live.find import GatedFusion, GateLayer, no_gates_from, not_called
from ..live.gates import FusedStream, as_gate, find_gates, shapes_in, stream_of

Path = tuple[Any, ...]


@dataclass(frozen=True)
class GatePlace:
    """One gate: what the module ``owner`` returns at ``path``.

    ``axes`` says which axes of what is returned are the batch, the clips and the channels.
    """

    owner: str
    path: Path
    per_clip: bool
    channels: int
    axes: tuple[str, ...]

    def take(self, output: Any) -> Tensor:
        """The gate in what its owner returned, as (B, L | 1, 1 | d)."""
        for key in self.path:
            output = output[key]
        tensor = cast(Tensor, output)
        if "clip" not in self.axes:
            tensor = tensor.unsqueeze(1) if tensor.ndim < 3 else tensor
        return tensor.unsqueeze(-1) if tensor.ndim < 3 else tensor


def find_places(
    model: nn.Module, fusion: GatedFusion, batch: Mapping[str, Tensor]
) -> tuple[dict[str, tuple[GatePlace, ...]], FusedStream]:
    """By kind, where each layer's gate is, seen in one forward pass of ``model`` on ``batch``; the stream.

    ``batch`` must have different, unequal-to-one numbers of samples and clips. Raises
    :class:`UnsupportedModelError` where a layer returns no gates.
    """
    seen: dict[str, Any] = {}
    streams: dict[str, FusedStream] = {}
    handles: list[Any] = []

    def before(name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        stream = stream_of(named_arguments(module, args, kwargs))
        if stream is not None:
            streams.setdefault(name, stream)

    def after(name: str, _module: nn.Module, _args: Any, output: Any) -> None:
        seen.setdefault(name, output)

    for layer in fusion.layers:
        module = model.get_submodule(layer.name)
        handles.append(
            module.register_forward_pre_hook(
                lambda m, a, k, name=layer.name: before(name, m, a, k), with_kwargs=True
            )
        )
        for name in (*layer.owners, *layer.branches):
            owner = model.get_submodule(name)
            handles.append(owner.register_forward_hook(lambda m, a, o, name=name: after(name, m, a, o)))
    try:
        with torch.no_grad():
            model(**batch)
    finally:
        for handle in handles:
            handle.remove()
    per_layer = [_places_of(layer, fusion, seen, streams.get(layer.name)) for layer in fusion.layers]
    found = {kind: tuple(one[i] for one in per_layer) for i, kind in enumerate(GATE_KINDS)}
    for kind, places in found.items():
        if len({(place.per_clip, place.channels) for place in places}) > 1:
            raise UnsupportedModelError(
                f"the {kind} gates of this model have different shapes in different layers",
                received="; ".join(f"{p.owner}: {p.axes}" for p in places),
                expected="the same in every layer",
            )
    return found, streams[fusion.layers[0].name]


def _places_of(
    layer: GateLayer, fusion: GatedFusion, seen: Mapping[str, Any], stream: FusedStream | None
) -> tuple[GatePlace, GatePlace]:
    if stream is None or not any(name in seen for name in layer.owners):
        raise not_called(layer)
    widths = {1, stream.channels, *fusion.channels}
    for owner in layer.owners:
        gates = find_gates(seen.get(owner), stream, widths, inline=layer.inline)
        if gates is not None:
            attention, ffn = (_place(owner, seen[owner], gate, stream) for gate in gates)
            return attention, ffn
    raise no_gates_from(layer, f"{layer.owners[-1]} returned a {shapes_in(seen.get(layer.owners[-1]))}")


def _place(owner: str, output: Any, gate: Tensor, stream: FusedStream) -> GatePlace:
    path = _path_to(output, gate)
    assert path is not None  # it was found in there
    if gate.ndim == 1:
        axes: tuple[str, ...] = ("batch",)
    elif gate.ndim == 2:
        axes = ("batch", "clip" if gate.shape[1] == stream.clips else "channel")
    else:
        axes = ("batch", "clip" if gate.shape[1] == stream.clips else "1", "channel")
    shaped = as_gate(gate, stream, {1, stream.channels, gate.shape[-1]})
    assert shaped is not None
    return GatePlace(owner, path, "clip" in axes, int(shaped.shape[-1]), axes)


def _path_to(output: Any, wanted: Tensor) -> Path | None:
    if output is wanted:
        return ()
    items: list[tuple[Any, Any]] = []
    if isinstance(output, Mapping):
        items = list(cast(Mapping[Any, Any], output).items())
    elif isinstance(output, (tuple, list)):
        items = list(enumerate(cast(list[Any], output)))
    for key, value in items:
        rest = _path_to(value, wanted)
        if rest is not None:
            return (key, *rest)
    return None
