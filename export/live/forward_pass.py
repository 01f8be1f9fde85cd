"""What one forward pass of a model shows of its fusion: traces of its layers, and the gates in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ...runtime.errors import UnsupportedModelError
from ...runtime.gates.vocabulary import GATE_KINDS
from .activation import BoundingFunctions, GateRange
from .find import GatedFusion, GateLayer, no_gates_from, not_called
from .gates import FusedStream, as_gate


@dataclass(frozen=True)
class FusionGates:
    """What one forward pass gave.

    - ``gates``: by kind, one tensor (B, L | 1, 1 | d) per layer, on the model's device, detached copies.
    - ``ranges``: by kind, the range its activation gives it, None where none was seen.
    - ``bounded``: whether anything in the gating functions bounds its output; None if that was not watched.
    - ``calls``: arguments of the model, the fusion and the first layer, in which masks may be.
    """

    gates: dict[str, list[Tensor]]
    ranges: dict[str, GateRange | None]
    bounded: bool | None
    stream: FusedStream
    calls: list[dict[str, Any]]


@dataclass
class LayerTrace:
    """What was seen of one layer in one pass."""

    stream: FusedStream | None = None
    returned: dict[int, Any] = field(default_factory=dict[int, Any])
    gates: dict[int, tuple[Tensor, ...]] = field(default_factory=dict[int, tuple[Tensor, ...]])
    ranges: dict[int, tuple[GateRange | None, ...]] = field(
        default_factory=dict[int, tuple[GateRange | None, ...]]
    )
    probe: BoundingFunctions | None = None
    known: set[int] = field(default_factory=set[int])


@dataclass
class ForwardPass:
    """A pass that runs: its outermost module, what was seen of each layer, the call that began it."""

    opener: str
    layers: list[LayerTrace]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    samples: int | None
    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    token: Any = None
    begun: bool = False


def gates_of_pass(current: ForwardPass, fusion: GatedFusion) -> FusionGates:
    """What the pass showed of ``fusion``; raises where a layer's gates cannot be read."""
    gates: dict[str, list[Tensor]] = {kind: [] for kind in GATE_KINDS}
    ranges: dict[str, list[GateRange | None]] = {kind: [] for kind in GATE_KINDS}
    stream = None
    for layer, trace in zip(fusion.layers, current.layers, strict=True):
        own, own_ranges = _gates_of(layer, trace)
        stream = stream or trace.stream
        assert trace.stream is not None  # gates are kept only where it is known
        for kind, tensor, found in zip(GATE_KINDS, own, own_ranges, strict=True):
            gate = as_gate(tensor, trace.stream, set(fusion.channels))
            assert gate is not None
            gates[kind].append(gate)
            ranges[kind].append(found)
    assert stream is not None
    probes = [trace.probe for trace in current.layers if trace.probe is not None]
    return FusionGates(
        gates,
        {kind: found[0] if len(set(found)) == 1 else None for kind, found in ranges.items()},
        any(probe.any for probe in probes) if probes else None,
        stream,
        current.calls,
    )


def _gates_of(layer: GateLayer, trace: LayerTrace) -> tuple[tuple[Tensor, ...], tuple[GateRange | None, ...]]:
    returned = [depth for depth in trace.gates if depth >= 0]
    if returned:
        outermost = min(returned)
        return trace.gates[outermost], trace.ranges[outermost]
    # Branches run in any order; what is negative is numbered as they were registered.
    branches = sorted((key for key in trace.gates if key < 0), reverse=True)[: len(GATE_KINDS)]
    if len(branches) == len(GATE_KINDS) and all(trace.ranges[key][0] for key in branches):
        tensors = tuple(trace.gates[key][0] for key in branches)
        return tensors, tuple(trace.ranges[key][0] for key in branches)
    raise _unreadable(layer, trace)


def _unreadable(layer: GateLayer, trace: LayerTrace) -> UnsupportedModelError:
    if not trace.returned:
        return not_called(layer)
    seen = "; ".join(f"{layer.owners[depth]} returned a {what}" for depth, what in trace.returned.items())
    sizes = (
        f" (B = {trace.stream.samples}, L = {trace.stream.clips}, d = {trace.stream.channels})"
        if trace.stream
        else ""
    )
    return no_gates_from(layer, f"{seen}{sizes}", branches_read=True)
