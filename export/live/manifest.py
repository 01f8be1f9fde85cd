"""The manifest of gates tracked on a live model: what is known of it, and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...runtime.gates.manifest import Fact, Forward, Manifest
from ...runtime.gates.preprocessing import Preprocessing
from ...runtime.gates.shape import Gate, Tensor
from ...runtime.runs.info import FileRef
from ..reading.facts import Description
from .activation import GateRange
from .find import GatedFusion, acts_as

_UNKNOWN = "(unknown: the model was run by its user)"
_LAYER_AXES = ("batch", "layer")


@dataclass(frozen=True)
class Origin:
    """The checkpoint a model was rebuilt from, and what is known from it."""

    file: FileRef
    description: Description


@dataclass
class LiveFacts:
    """What gates looked like so far.

    ``ranges``: by kind, what the activation bounds them to, None where none was seen. ``seen``: by kind, the
    smallest and the largest value. ``timed``, ``channels``: by kind, whether there is a gate a clip, and how
    many channels it has. ``longest``: most clips of a sample.
    """

    hidden_dim: int
    ranges: dict[str, GateRange | None]
    gating: str = "global"
    layers: int = 0
    longest: int = 1
    seen: dict[str, GateRange] = field(default_factory=dict[str, GateRange])
    timed: dict[str, bool] = field(default_factory=dict[str, bool])
    channels: dict[str, int] = field(default_factory=dict[str, int])

    def see(self, gates: Mapping[str, Sequence[NDArray[np.float32]]], gating: str, clips: int) -> None:
        """Take in the gates of one batch, L = ``clips``."""
        if clips > 1 or self.longest == 1:
            self.gating = gating
        self.longest = max(self.longest, clips)
        for kind, layers in gates.items():
            self.layers = len(layers)
            low, high = self.seen.get(kind, (np.inf, -np.inf))
            # NaN is left to whoever writes the gates down, who names the sample.
            lows = [float(np.fmin.reduce(array, axis=None)) for array in layers]
            highs = [float(np.fmax.reduce(array, axis=None)) for array in layers]
            self.seen[kind] = min(low, *lows), max(high, *highs)
            self.timed[kind] = self.timed.get(kind, False) or any(array.shape[1] > 1 for array in layers)
            self.channels[kind] = max(array.shape[2] for array in layers)

    def range_of(self, kind: str) -> tuple[GateRange, bool]:
        """The range of a kind of gate, and whether it is a bound and not merely what was seen."""
        low, high = self.seen[kind]
        known = self.ranges.get(kind)
        if known is not None and known[0] <= low and high <= known[1]:
            return known, True
        largest = max(abs(low), abs(high))
        largest = largest if 0 < largest < np.inf else 1.0
        return (-largest if low < 0 else 0.0, largest), False


def live_manifest(
    model: nn.Module, fusion: GatedFusion, facts: LiveFacts, weights: str, origin: Origin | None
) -> Manifest:
    """A manifest with the gates of ``facts``; ``weights`` is the hash of the model's parameters."""
    gates: list[Gate] = []
    outputs: list[Tensor] = []
    notes: list[str] = []
    for kind in facts.seen:
        found, bound = facts.range_of(kind)
        if not bound:
            notes.append(
                f"the range of the {kind} gate, {found[0]:.4g} to {found[1]:.4g}, is the largest value that "
                "was seen, not a bound of the model: what counts as saturated is relative to it"
            )
        wide = facts.channels[kind] > 1
        axes = (*_LAYER_AXES, "clip" if facts.timed[kind] else "1", "channel" if wide else "1")
        sizes = ("batch", facts.layers, "clip" if facts.timed[kind] else 1, facts.channels[kind])
        output = f"gate_{kind}"
        outputs.append(Tensor(output, sizes))
        gates += [
            Gate(
                f"fusion.{layer}.{kind}",
                kind,
                layer,
                output,
                layer,
                axes,
                found,
                acts_as=acts_as(model, fusion.layers[layer].owners, kind),
                source="live",
            )
            for layer in range(facts.layers)
        ]
    described = None if origin is None else origin.description
    dtype = next((str(one.dtype).removeprefix("torch.") for one in model.parameters()), "float32")
    return Manifest(
        family=type(model).__name__ if described is None else described.family,
        gating=facts.gating,
        gates=tuple(gates),
        inputs=(),
        outputs=tuple(outputs),
        preprocessing=(
            Preprocessing.unknown(_UNKNOWN, facts.longest) if described is None else described.preprocessing
        ),
        facts={
            **({} if described is None else described.facts),
            "fusion": Fact(fusion.name or type(model).__name__, "weights"),
            "fusion_layers": Fact(facts.layers, "weights"),
            "hidden_dim": Fact(facts.hidden_dim, "weights"),
        },
        checkpoint_sha256=weights if origin is None else origin.file.sha256,
        versions={"gatescope": version("gatescope"), "torch": str(torch.__version__)},
        opset=None,
        precision=dtype,
        batching="reference",
        outputs_kind="tracked",
        # Nobody checked, so the gates of a video are not taken for those of all its queries.
        depends_on_text=described is None,
        format="live",
        forward=Forward("code" if origin is None else "assumed"),
        warnings=(*(() if described is None else described.warnings), *notes),
    )
