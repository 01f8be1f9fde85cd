"""The manifest of gates tracked on a live model: what is known of it, and no more."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...runtime.gates.manifest import Fact, Forward, Manifest
from ...runtime.gates.preprocessing import Preprocessing
from ...runtime.gates.shape import GateShape, SeenGates, rows_of
from ...runtime.gates.vocabulary import ActsAs
from ...runtime.runs.info import FileRef
from ..families.family import FAMILIES
from ..reading.facts import Description
from .activation import GateRange
from .find import GatedFusion, acts_as

_UNKNOWN = "(unknown: the model was run by its user)"


@dataclass(frozen=True)
class Origin:
    """The checkpoint a model was rebuilt from, and what is known from it."""

    file: FileRef
    description: Description


@dataclass
class LiveFacts:
    """What gates looked like so far.

    ``ranges``: by kind, what the activation bounds them to, None where none was seen. ``seen``: by kind, what
    the gates looked like. ``longest``: most clips of a sample.
    """

    hidden_dim: int
    ranges: dict[str, GateRange | None]
    gating: str = "global"
    longest: int = 1
    seen: dict[str, SeenGates] = field(default_factory=dict[str, SeenGates])

    def see(self, gates: Mapping[str, Sequence[NDArray[np.float32]]], gating: str, clips: int) -> None:
        """Take in the gates of one batch, L = ``clips``."""
        if clips > 1 or self.longest == 1:
            self.gating = gating
        self.longest = max(self.longest, clips)
        for kind, layers in gates.items():
            # NaN is left to whoever writes the gates down, who names the sample.
            self.seen.setdefault(kind, SeenGates(kind)).see(layers)

    @property
    def layers(self) -> int:
        """Number of fusion layers that gave gates."""
        return max((one.layers for one in self.seen.values()), default=0)

    def range_of(self, kind: str) -> tuple[GateRange, bool]:
        """The range of a kind of gate, and whether it is a bound and not merely what was seen."""
        seen, known = self.seen[kind], self.ranges.get(kind)
        if known is not None and known[0] <= seen.lowest and seen.highest <= known[1]:
            return known, True
        return seen.seen_range, False


def live_manifest(
    model: nn.Module, fusion: GatedFusion, facts: LiveFacts, weights: str, origin: Origin | None
) -> Manifest:
    """A manifest with the gates of ``facts``; ``weights`` is the hash of the model's parameters."""
    shapes: list[GateShape] = []
    notes: list[str] = []
    for kind, seen in facts.seen.items():
        found, bound = facts.range_of(kind)
        if not bound:
            notes.append(
                f"the range of the {kind} gate, {found[0]:.4g} to {found[1]:.4g}, is the largest value that "
                "was seen, not a bound of the model: what counts as saturated is relative to it"
            )
        acting: dict[int, ActsAs] = {
            i: acts_as(model, layer.owners, kind) for i, layer in enumerate(fusion.layers)
        }
        shapes.append(seen.shape(found, acting))
    described = None if origin is None else origin.description
    dtype = next((str(one.dtype).removeprefix("torch.") for one in model.parameters()), "float32")
    return Manifest(
        family=type(model).__name__ if described is None else described.family,
        gating=facts.gating,
        gates=rows_of(shapes, "live"),
        inputs=(),
        outputs=tuple(shape.tensor() for shape in shapes),
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
        # Not checked, so the gates of a video are not taken for those of all its queries.
        depends_on_text=described is None or FAMILIES[described.family].words_first,
        format="live",
        forward=Forward("code") if described is None else described.forward,
        warnings=(*(() if described is None else described.warnings), *notes),
    )


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of the names and values of all parameters and buffers, each in the precision it has.

    A manifest has it where there is no checkpoint to hash.
    """
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        if isinstance(value, Tensor):
            flat = value.detach().to("cpu").contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
