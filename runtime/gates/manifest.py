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
from .vocabulary import TEF_CHANNELS, ActsAs, Batching, GateOrigin, ModelFormat, OutputsKind

FORMAT_VERSION = 2
METADATA_KEY = "gatescope"

Scalar = str | int | float | bool | None


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
    activation: str | None = None
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


@dataclass(frozen=True)
class InputSource:
    """One folder of features: ``path`` as training knew it, ``width`` (channels) where it is known."""

    path: str
    width: int | None = None


@dataclass(frozen=True)
class Preprocessing:
    """How raw features become model input (the steps are in :mod:`gatescope.runtime.data.prepare`).

    - ``dataset``: ``hl`` (QVHighlights layout), ``tvsum`` or ``charades``; decides the file names.
    - ``video``: video sources in the order they are concatenated.
    - ``video_width``, ``audio_width``, ``text_width``: channels of the model's inputs, TEF included.
    - ``normalize_video`` (audio too), ``normalize_text``: whether each row is L2-normalised.
    - ``tef``: whether [i/L, (i+1)/L] is appended to video and audio.
    - ``clip_length``: seconds a clip lasts. ``max_v_l``: most clips. ``max_q_l``: most words.
    - ``round_to``: predicted windows are rounded to multiples of so many seconds; None: not rounded.
    - ``clamp_seconds``: predicted windows are clamped to 0 … so many seconds, whatever the video's length;
      None: not clamped, at either end.
    """

    dataset: str
    video: tuple[InputSource, ...]
    audio: InputSource
    text: InputSource
    video_width: int
    audio_width: int
    text_width: int
    normalize_video: bool
    normalize_text: bool
    tef: bool
    clip_length: float
    max_v_l: int
    max_q_l: int
    round_to: float | None
    clamp_seconds: float | None

    @classmethod
    def unknown(cls, why: str, longest: int) -> Preprocessing:
        """No recipe, for gates nobody told the origin of: zeros where a number would be a guess.

        ``why`` stands in place of names; ``longest``: clips of the longest sample.
        """
        return cls(
            dataset=why,
            video=(),
            audio=InputSource(why),
            text=InputSource(why),
            video_width=0,
            audio_width=0,
            text_width=0,
            normalize_video=False,
            normalize_text=False,
            tef=False,
            clip_length=0.0,
            max_v_l=longest,
            max_q_l=0,
            round_to=None,
            clamp_seconds=None,
        )


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

    The fields are :data:`SUMMARY_FIELDS`. The bins divide the range of that layer's gate evenly; a value at
    the upper end belongs to the last bin. A rail is within 1e-3 of an end of the range.
    """

    output: str


SUMMARY_STATISTICS = ("count", "sum", "sum_squares", "sum_abs", "min", "max", "rail_low", "rail_high")
SUMMARY_BINS = 64
SUMMARY_FIELDS = (*SUMMARY_STATISTICS, *(f"bin_{i}" for i in range(SUMMARY_BINS)))
RAIL = 1e-3


@dataclass(frozen=True)
class Forward:
    """Where the forward pass is known from.

    - ``source``: ``family`` (one we have, and it reproduced the training run's predictions), ``code`` (the
      user's own module ran), or ``assumed`` (one we have, for weights with the same names and shapes; other
      code may share both).
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
class Verification:
    """Agreement with the predictions that training left behind.

    ``errors`` holds the largest difference per quantity (score, window in seconds, saliency).
    """

    predictions: str
    predictions_sha256: str
    samples: int
    batch_size: int
    errors: dict[str, float]


@dataclass(frozen=True)
class BatchingEffect:
    """How far the file, which computes each sample by itself, is from the same samples in training's batches.

    Measured on the samples of a verification, against the model in the training code's batching.

    - ``samples``: how many. ``batch_size``: of training's batches.
    - ``outputs``: largest absolute difference per prediction output, in its own unit (``saliency_scores``
      as they are, ``pred_spans`` as fractions of the video). ``gates``: the same per kind of gate.
    - ``answers_changed``: samples whose first window, rounded as in a submission, is another one; None where
      the file predicts nothing.
    """

    samples: int
    batch_size: int
    outputs: dict[str, float]
    gates: dict[str, float]
    answers_changed: int | None

    @property
    def largest(self) -> float:
        """The largest difference of all."""
        return max((*self.outputs.values(), *self.gates.values()), default=0.0)


@dataclass(frozen=True)
class Certificate:
    """What the file was compared with before it was allowed to exist.

    - ``compared_with``: which PyTorch model; "gatescope's own model" says the rebuilt one.
    - ``shapes``: the batches compared, each ``{"clips": […], "words": […]}``.
    - ``errors``: largest absolute difference per output over valid entries.
    - ``atol``: the largest difference that was allowed.
    - ``verification``: present where real predictions were reproduced too. ``batching_effect``: present where
      the file then computes otherwise than training evaluated.
    """

    compared_with: str
    shapes: tuple[dict[str, tuple[int, ...]], ...]
    errors: dict[str, float]
    atol: float
    verification: Verification | None = None
    batching_effect: BatchingEffect | None = None


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
    format_version: int = field(default=FORMAT_VERSION)

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
        try:
            raw: Any = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise ManifestError(
                f"the manifest of {origin} is not JSON", received=str(error), fix="export the model again"
            ) from error
        found = cast(dict[str, Any], raw).get("format_version") if isinstance(raw, dict) else None
        if not isinstance(found, int) or isinstance(found, bool):
            raise ManifestError(
                f"the manifest of {origin} has no format_version",
                expected=f"a number up to {FORMAT_VERSION}",
                fix="export the model again",
            )
        if found > FORMAT_VERSION:
            raise ManifestError(
                f"{origin} was exported by a newer gatescope",
                received=f"manifest format {found}",
                expected=f"format {FORMAT_VERSION} or older",
                fix="update gatescope, or export the model again with this version",
            )
        try:
            return msgspec.convert(_from_format_1(raw) if found < 2 else raw, cls)
        except msgspec.ValidationError as error:
            raise ManifestError(
                f"the manifest of {origin} is damaged", received=str(error), fix="export the model again"
            ) from error

    @property
    def in_words(self) -> str:
        """Gating, layers and what the graph returns, such as ``clipwise, 4 layers, tracked``."""
        return f"{self.gating}, {counted(self.layers, 'layer')}, {self.outputs_kind}"

    def __repr__(self) -> str:
        kinds = " and ".join(self.gate_kinds) or "no"
        return one_line(self, self.family, self.in_words, f"{kinds} gates", self.batching, self.format)


def _from_format_1(raw: Any) -> Any:
    """A document of format 1 with what it meant without saying it: windows end at 150 s, in whole clips."""
    recipe: object = raw.get("preprocessing")
    if not isinstance(recipe, dict):
        return raw
    known = cast(dict[str, Any], recipe)
    said = {"round_to": known.get("clip_length") or None, "clamp_seconds": 150.0}
    return {**raw, "preprocessing": {**said, **known}}
