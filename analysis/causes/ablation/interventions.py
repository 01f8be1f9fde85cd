"""What is changed about a model to see what it causes, one intervention at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ....runtime.errors import UsageError
from ....runtime.gates.manifest import Manifest
from ....runtime.gates.vocabulary import PREDICTIONS

Treatment = Literal["none", "zero", "shut", "mean", "shuffled"]
#: Where a gate is on its output's layer axis: its kind and its place.
KindAndLayer = tuple[str, int]

UNCHANGED = "unchanged"

_OF_AUDIO: tuple[Treatment, ...] = ("zero", "shuffled")
_OF_GATES: tuple[Treatment, ...] = ("shut", "mean", "shuffled")
_WORDS = {
    "none": "",
    "zero": "set to 0",
    "shut": "shut",
    "mean": "set to its mean",
    "shuffled": "of another video",
}


@dataclass(frozen=True)
class Intervention:
    """One change of the model's gates or its audio.

    - ``name``: unique, such as ``layer1-attention-shut``. ``what``: ``gates``, ``audio`` or ``nothing``.
    - ``treatment``: a gate that is *shut* multiplies its branch by 0, whatever value of it does so (0, or −1
      where it acts as ``1+g``).
    - ``gates``: the gates that are replaced. ``kind`` and ``layer`` say which, None standing for all.
    """

    name: str
    what: Literal["nothing", "gates", "audio"]
    treatment: Treatment = "none"
    gates: tuple[KindAndLayer, ...] = ()
    kind: str | None = None
    layer: int | None = None

    @property
    def target(self) -> str:
        """What is changed, as a reader calls it: ``audio``, ``all gates``, ``layer 0, attention gate``."""
        if self.what != "gates":
            return "audio" if self.what == "audio" else "nothing"
        if self.layer is not None:
            return f"layer {self.layer}, {_called(self.kind or '')} gate"
        return "all gates" if self.kind is None else f"{_called(self.kind)} gates of all layers"

    @property
    def change(self) -> str:
        """What is done to it: ``set to 0``, ``shut``, ``set to its mean``, ``of another video``."""
        several = len(self.gates) > 1 and self.treatment == "mean"
        return "set to their means" if several else _WORDS[self.treatment]

    @property
    def title(self) -> str:
        """The whole intervention in words: ``layer 0, attention gate set to its mean``."""
        return f"{self.target} {self.change}".strip()


def interventions(manifest: Manifest, videos: int) -> tuple[Intervention, ...]:
    """Every intervention on this model, the unchanged model first; see the README for what they mean.

    ``videos``: how many the dataset has; with fewer than two nothing can be exchanged between videos.
    """
    kinds = ablatable_kinds(manifest)
    places = [gate for gate in manifest.gates if gate.kind in kinds]
    found = [Intervention(UNCHANGED, "nothing")]
    if "src_aud" in manifest.input_names:
        found += [Intervention(f"audio-{one}", "audio", one) for one in _possible(_OF_AUDIO, videos)]

    def change(
        name: str, chosen: list[KindAndLayer], kind: str | None = None, layer: int | None = None
    ) -> None:
        for one in _possible(_OF_GATES, videos):
            found.append(Intervention(f"{name}-{one}", "gates", one, tuple(chosen), kind, layer))

    if len(places) > 1:
        change("all-gates", [(gate.kind, gate.index) for gate in places])
    layers = {gate.layer for gate in places}
    if len(kinds) > 1 and len(layers) > 1:
        for kind in kinds:
            change(f"all-{kind}", [(kind, gate.index) for gate in places if gate.kind == kind], kind)
    for gate in sorted(places, key=lambda gate: (kinds.index(gate.kind), gate.layer)):
        change(f"layer{gate.layer}-{gate.kind}", [(gate.kind, gate.index)], gate.kind, gate.layer)
    return tuple(found)


def _possible(treatments: Sequence[Treatment], videos: int) -> list[Treatment]:
    return [one for one in treatments if one != "shuffled" or videos > 1]


def ablatable_kinds(manifest: Manifest) -> tuple[str, ...]:
    """Kinds of gates that the graph both gives and lets change."""
    return tuple(kind for kind in manifest.tracked_kinds if kind in manifest.overrides)


def check_ablatable(manifest: Manifest, path: Path) -> None:
    """See that the model predicts something, and that its gates can be read and changed.

    Raises :class:`~gatescope.runtime.errors.UsageError` that says how to export it.
    """
    again = (
        "export it again: gatescope export --checkpoint … --outputs tracked --overridable --output model.onnx"
    )
    if not set(PREDICTIONS) <= set(manifest.output_names):
        raise UsageError(
            f"{path} predicts nothing, so no effect of its gates can be seen",
            received=f"an export with --outputs {manifest.outputs_kind}: {', '.join(manifest.output_names)}",
            expected=f"the outputs {', '.join(PREDICTIONS)}",
            fix=again,
        )
    if not ablatable_kinds(manifest):
        lacking = (
            "no inputs that change its gates" if manifest.tracked_kinds else "no gates among its outputs"
        )
        raise UsageError(
            f"{path} does not let its gates be changed",
            received=f"an export with {lacking}",
            expected="an export with --outputs tracked and --overridable",
            fix=again,
        )


def _called(kind: str) -> str:
    return {"ffn": "FFN"}.get(kind, kind)
