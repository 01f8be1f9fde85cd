"""Contract 1: the manifest, one JSON document inside every exported model.

It says everything that is needed to run the file and to understand its outputs, so that nothing but the
file has to be kept. It is read from the ``gatescope`` entry of an ONNX file's ``metadata_props``, or of
the extra files of a TorchScript or pt2 archive.

Format 2 says more than format 1, which is still read: what each gate does with its value (``acts_as``),
what bounds it and who said so, the role of every input, how windows are rounded and clamped, where the
forward pass is known from, and how the model was trained. What a file of format 1 does not say is filled in
as it was understood then (:func:`_from_format_1`); ``format_version`` keeps the number it was written with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, cast

import msgspec

from ..brief import counted, one_line
from ..errors import ManifestError
from .certificate import Certificate
from .documents import DocumentFormat
from .preprocessing import Preprocessing
from .shape import Gate, GateShape, LayerGate, Tensor
from .vocabulary import TEF_CHANNELS, ActsAs, Batching, ModelFormat, OutputsKind

METADATA_KEY = "gatescope"
_AGAIN = "export the model again"
_DOCUMENT = DocumentFormat(
    "manifest format",
    2,
    ManifestError,
    fix=_AGAIN,
    fix_newer=f"update gatescope, or {_AGAIN} with this version",
)

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Fact:
    """A fact about the model, and where it is from: ``weights``, ``opt``, ``flag``, ``default``, ``log``."""

    value: Scalar
    source: str


@dataclass(frozen=True)
class Override:
    """Two inputs that change the gates of one kind: g' = scale · g + offset, neutral when left out.

    Both inputs have axes (batch | 1, layer, clip | 1, channel | 1).
    """

    scale: str
    offset: str


@dataclass(frozen=True)
class Summary:
    """In-graph statistics of the gates of one kind over valid entries: ``output`` (batch, layer, field).

    The fields are the vocabulary's ``SUMMARY_FIELDS``. The bins divide the range of that layer's gate evenly;
    a value at the upper end belongs to the last bin. A rail is within 1e-3 of an end of the range.
    """

    output: str


@dataclass(frozen=True)
class Forward:
    """Where the forward pass is known from.

    - ``source``: ``family`` (one we have: the code that trained it was recognised, or it reproduced the
      training run's predictions), ``code`` (the user's own module ran), or ``assumed`` (one we have, for
      weights with the same names and shapes; other code may share both).
    - ``branch``: the name of the code's branch or factory, where it is known.
    - ``adapted``: what was changed in the running code so that its graph could be captured.
    """

    source: Literal["family", "code", "assumed"]
    branch: str | None = None
    adapted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Training:
    """How the model was trained, as far as it was recorded; ``opt`` holds every training option as text."""

    seed: int | None = None
    epoch: int | None = None
    exp_id: str | None = None
    dset_name: str | None = None
    dset_domain: str | None = None
    opt: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Manifest:
    """Everything an exported model says about itself; see the fields' own classes.

    - ``family``: which forward pass (``avigate_custom``, …). ``gating``: ``global``, ``clipwise``, ….
    - ``outputs_kind``: ``tracked``, ``plain``, ``gates`` or ``summary``.
    - ``batching``: ``exact`` or ``reference`` (the reference's batched numbers).
    - ``contributions``: by kind, the output (batch, layer, clip) that says how far the gated branch moves the
      stream, ‖m·u‖ / ‖v‖, where m is what the gate multiplies by (``acts_as``); empty where the export did
      not ask for it. ``overrides``: by kind, the inputs that change the gates. ``summaries``: by kind, the
      in-graph statistics of a ``summary`` export.
    - ``facts``: layers, heads, activations, … each with its source.
    - ``eval_batch_size``: the batch size training evaluated with, where it recorded one.
    - ``forward``: where the forward pass is known from. ``training``: how the model was trained.
    - ``precision``: what the graph computes in, ``float32`` or ``float16``; inputs and outputs are float32.
    - ``rewrites``: what the exporter did to the model to make it faster; see ``gatescope.export.optimize``.
    - ``depends_on_text``: whether the gates need the query; if not, one video has one set of gates.
    """

    family: str
    gating: str
    gates: tuple[Gate, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    preprocessing: Preprocessing
    facts: dict[str, Fact]
    checkpoint_sha256: str
    versions: dict[str, str]
    opset: int | None
    precision: str
    batching: Batching
    outputs_kind: OutputsKind
    depends_on_text: bool
    format: ModelFormat = "onnx"
    contributions: dict[str, str] = field(default_factory=dict[str, str])
    overrides: dict[str, Override] = field(default_factory=dict[str, Override])
    summaries: dict[str, Summary] = field(default_factory=dict[str, Summary])
    eval_batch_size: int | None = None
    rewrites: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    certificate: Certificate | None = None
    forward: Forward | None = None
    training: Training | None = None
    format_version: int = field(default=_DOCUMENT.version)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs the graph declares, in its order."""
        return tuple(tensor.name for tensor in self.inputs)

    @property
    def reads_datasets(self) -> bool:
        """Whether the recipe says how features become inputs; that of gates of unknown origin does not."""
        recipe = self.preprocessing
        extra = TEF_CHANNELS if recipe.tef else 0
        clipwise = bool(recipe.video) and min(recipe.video_width, recipe.audio_width) > extra
        return clipwise and (recipe.text_width > 0 or "src_txt" not in self.input_names)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the graph's outputs, in its order."""
        return tuple(tensor.name for tensor in self.outputs)

    @property
    def gate_kinds(self) -> tuple[str, ...]:
        """Kinds of gates in the order they were declared, each once."""
        return tuple(dict.fromkeys(gate.kind for gate in self.gates))

    @property
    def tracked_kinds(self) -> tuple[str, ...]:
        """Kinds of gates that are among the outputs; none in a ``plain`` or ``summary`` export."""
        outputs = {tensor.name for tensor in self.outputs}
        return tuple(kind for kind in self.gate_kinds if self.gate_output(kind) in outputs)

    @property
    def override_names(self) -> dict[str, tuple[str, str]]:
        """By input that changes gates, the kind of gate and how: ``scale`` or ``offset``."""
        return {
            name: (kind, how)
            for kind, override in self.overrides.items()
            for how, name in (("scale", override.scale), ("offset", override.offset))
        }

    @property
    def hidden_dim(self) -> int | None:
        """Channels of the stream that the gates act on; None where that is not known."""
        fact = self.facts.get("hidden_dim")
        return fact.value if fact is not None and isinstance(fact.value, int) else None

    @property
    def shapes(self) -> dict[str, GateShape]:
        """By kind, what its gates look like, whether or not they are among the outputs."""
        widths = {tensor.name: tensor.axes[-1] for tensor in self.outputs}
        found: dict[str, GateShape] = {}
        for kind in self.gate_kinds:
            rows = sorted((gate for gate in self.gates if gate.kind == kind), key=lambda gate: gate.index)
            *_, clip, channel = rows[0].axes
            width = widths.get(rows[0].output)
            width = width if isinstance(width, int) else self.hidden_dim or 1
            width = 1 if channel == "1" else width
            layers = (LayerGate(one.layer, one.range, one.acts_as, one.activation) for one in rows)
            found[kind] = GateShape(kind, clip != "1", width, tuple(layers))
        return found

    @property
    def layers(self) -> int:
        """Number of fusion layers that have gates."""
        return len({gate.layer for gate in self.gates})

    def gate_output(self, kind: str) -> str:
        """Name of the graph output that holds the gates of ``kind``, stacked over layers."""
        for gate in self.gates:
            if gate.kind == kind:
                return gate.output
        raise ManifestError(
            f"this model has no '{kind}' gate", expected=f"one of {', '.join(self.gate_kinds) or 'none'}"
        )

    def acts_as(self, kind: str) -> ActsAs:
        """What gates of ``kind`` multiply their branch by: ``1+g`` where those of any layer do."""
        return "1+g" if any(gate.acts_as == "1+g" for gate in self.gates if gate.kind == kind) else "g"

    @property
    def doubtful_kinds(self) -> tuple[str, ...]:
        """Kinds that may act as ``1+g`` although nothing says so.

        Format 1 could not say it, and only the sigmoid family has FiLM, in its FFN gate: there ``g`` is what
        earlier versions assumed, and their contributions are ‖g·u‖ / ‖v‖ whatever multiplies the branch.
        """
        old = self.format_version < 2 and self.family == "sigmoid"
        return tuple(kind for kind in self.gate_kinds if old and kind == "ffn")

    @property
    def doubts(self) -> tuple[str, ...]:
        """What this document does not say and a reader must know, in sentences of plain text."""
        return tuple(
            f"An earlier version exported this model and did not say whether its {kind} gate multiplies by g "
            "or, with FiLM, by 1 + g. It is read as g, as then; with FiLM a gate at 0 leaves its branch in. "
            + (
                "Contributions are ‖g·u‖ / ‖v‖ and cannot be compared with those of newer files. "
                if kind in self.contributions
                else ""
            )
            + "Export the model again to know."
            for kind in self.doubtful_kinds
        )

    @property
    def assumption(self) -> str | None:
        """What a reader must know where the forward pass is assumed, as plain text; None where it is not."""
        if self.forward is None or self.forward.source != "assumed":
            return None
        return (
            "The forward pass is assumed: the code that trained this model was not recognised, and code with "
            "parameters of the same names may compute otherwise. gatescope export --verify PREDICTIONS "
            "compares it with what training predicted; --code exports the training code itself."
        )

    def gate_range(self, kind: str) -> tuple[float, float]:
        """Smallest and largest value gates of ``kind`` can take by themselves, over all layers."""
        ranges = [gate.range for gate in self.gates if gate.kind == kind]
        return min(low for low, _ in ranges), max(high for _, high in ranges)

    def to_json(self) -> str:
        """The document, with stable key order."""
        return msgspec.json.encode(self).decode()

    def to_dict(self) -> dict[str, Any]:
        """The document as plain Python objects, for embedding into another JSON document."""
        return cast(dict[str, Any], msgspec.to_builtins(self))

    @classmethod
    def from_json(cls, text: str | bytes, *, origin: str = "the model") -> Manifest:
        """Read a manifest; ``origin`` names its file in errors.

        Raises :class:`ManifestError` for a damaged document or one of a newer format.
        """
        name = f"the manifest of {origin}"
        raw = _DOCUMENT.decode(text, name)
        try:
            return msgspec.convert(_from_format_1(raw) if raw["format_version"] < 2 else raw, cls)
        except msgspec.ValidationError as error:
            raise _DOCUMENT.damaged(name, error) from error

    @property
    def in_words(self) -> str:
        """Gating, layers and what the graph returns, such as ``clipwise, 4 layers, tracked``."""
        return f"{self.gating}, {counted(self.layers, 'layer')}, {self.outputs_kind}"

    def __repr__(self) -> str:
        kinds = " and ".join(self.gate_kinds) or "no"
        return one_line(self, self.family, self.in_words, f"{kinds} gates", self.batching, self.format)


def _from_format_1(raw: dict[str, Any]) -> dict[str, Any]:
    """A document of format 1 with what it meant without saying it: windows end at 150 s, in whole clips."""
    recipe: object = raw.get("preprocessing")
    if not isinstance(recipe, dict):
        return raw
    known = cast(dict[str, Any], recipe)
    said = {"round_to": known.get("clip_length") or None, "clamp_seconds": 150.0}
    return {**raw, "preprocessing": {**said, **known}}
