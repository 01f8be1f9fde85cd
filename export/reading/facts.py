"""What a checkpoint's model is: sizes from its weights, the rest from options or flags, nothing guessed.

Where options and weights disagree on a size the weights win, with a warning. Heads and the difference
between global and clipwise gating leave no trace in the weights: recorded nowhere and not given, they are
an error, one for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from ...runtime.errors import UnknownFactError, UnsupportedModelError, WeightsMismatchError
from ...runtime.gates.manifest import Fact
from ...runtime.gates.preprocessing import Preprocessing
from ...runtime.gates.vocabulary import Activation, Family, Gating
from ..choices import Choices
from ..families.config import HIDDEN_DIM, ModelConfig
from .checkpoint import Checkpoint
from .families import recognise
from .optimizer import never_trained
from .options import DEFAULT, FAMILY, FLAG, OPTIMIZER, WEIGHTS, TrainingOptions, whole
from .preprocessing import find_preprocessing
from .sizes import find_sizes, find_ssm
from .weights import WeightShapes

GATINGS: tuple[Gating, ...] = ("global", "clipwise", "elementwise")

BASE_AVIGATE_HEADS = 8

# How each fact that may be recorded nowhere is given.
FLAG_OF_FACT = {
    "gating": "--gating 'global|clipwise'",
    "heads": "--heads N",
    "fusion_heads": "--fusion-heads N",
}

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Description:
    """A checkpoint's model, ready to be rebuilt, with the origin of every fact and all warnings.

    ``open_questions``: the warnings that a comparison with training's predictions settles.
    """

    family: Family
    config: ModelConfig
    preprocessing: Preprocessing
    facts: dict[str, Fact]
    warnings: tuple[str, ...]
    eval_batch_size: int | None
    open_questions: tuple[str, ...] = ()


def describe(checkpoint: Checkpoint, choices: Choices) -> Description:
    """Everything needed to rebuild the checkpoint's model under the user's ``choices``.

    Raises :class:`UnknownFactError`, :class:`WeightsMismatchError`, :class:`UnsupportedModelError` or
    :class:`~gatescope.runtime.errors.CheckpointError`.
    """
    family = recognise(checkpoint.weights, checkpoint.path)
    options = TrainingOptions(checkpoint.path, checkpoint.options, checkpoint.options_source)
    options.warnings += checkpoint.notes
    if checkpoint.options_source is None:
        options.warnings.append(
            "no training options were found (no 'opt' inside, no opt.json beside the file): "
            "preprocessing follows the training script's defaults"
        )
    weights = WeightShapes(checkpoint, options)
    _refuse_unsupported(weights, options)
    sizes = find_sizes(family, weights, options)
    unknown = _Unknown()
    gating: Gating = unknown.ask(lambda: _gating(family, weights, options, choices), "clipwise")
    heads = unknown.ask(lambda: _heads(options, "heads", "nheads", choices.heads, "--heads"), 1)
    fusion_heads = unknown.ask(lambda: _fusion_heads(family, options, choices), 1)
    unknown.refuse(checkpoint)
    config = ModelConfig(
        gating=gating,
        attention_activation=_attention_activation(family, options, choices, gating),
        batching=choices.batching,
        heads=heads,
        fusion_heads=fusion_heads,
        text_positions=_text_positions(checkpoint, options, choices),
        family=family,
        gate_temperature=_temperature(family, options),
        film=family == "sigmoid" and weights.has("fusion.fusion_layers.0.gating_function.ffn_beta"),
        ssm=find_ssm(weights, options) if family == "ssm" else None,
        **sizes,
    )
    preprocessing = find_preprocessing(
        options,
        choices,
        widths=(config.video_width, config.audio_width, config.text_width),
        max_words=config.max_words,
    )
    recorded = options.get("eval_bsz")
    batch_size = options.count("eval_batch_size", "eval_bsz", 1) if recorded is not None else None
    return Description(
        family,
        config,
        preprocessing,
        options.facts,
        tuple(options.warnings),
        batch_size,
        tuple(options.open_questions),
    )


class _Unknown:
    """Asks for one fact after another, so that all that are recorded nowhere are named at once."""

    def __init__(self) -> None:
        self._errors: list[UnknownFactError] = []

    def ask(self, find: Callable[[], _Found], otherwise: _Found) -> _Found:
        """What ``find`` finds; ``otherwise``, for the time being, where it is recorded nowhere."""
        try:
            return find()
        except UnknownFactError as error:
            self._errors.append(error)
            return otherwise

    def refuse(self, checkpoint: Checkpoint) -> None:
        """Raise one error for all that was not found."""
        if len(self._errors) == 1:
            raise self._errors[0]
        facts = [fact for error in self._errors for fact in error.facts]
        if facts:
            names = ", ".join(fact.replace("_", " ") for fact in facts)
            raise UnknownFactError(
                f"{checkpoint.path}: {len(facts)} facts are recorded nowhere, and the weights cannot tell "
                f"them: {names}",
                facts=facts,
                received="; ".join(str(error.received) for error in self._errors),
                fix=f"say what the model was trained with: {' '.join(FLAG_OF_FACT[fact] for fact in facts)} "
                "(the training script's defaults are 8 heads and 4 fusion heads)",
            )


def _text_positions(checkpoint: Checkpoint, options: TrainingOptions, choices: Choices) -> bool:
    """Whether words have positions: their table is in the weights whether it was used or not."""
    recorded = options.switch("text_positions", "use_txt_pos", False)
    if choices.text_positions is not None:
        if options.get("use_txt_pos") is not None and recorded != choices.text_positions:
            flag = "--text-positions" if choices.text_positions else "--no-text-positions"
            options.warnings.append(f"{flag} differs from training, which recorded use_txt_pos = {recorded}")
        options.record("text_positions", choices.text_positions, FLAG)
        return choices.text_positions
    table = [name for name in checkpoint.weights if name.startswith("txt_position_embed.")]
    untouched = never_trained(checkpoint)
    if options.get("use_txt_pos") is None and table and untouched is not None:
        recorded = not untouched.issuperset(table)
        options.record("text_positions", recorded, OPTIMIZER)
    return recorded


def _refuse_unsupported(weights: WeightShapes, options: TrainingOptions) -> None:
    (hidden,) = weights.shape("global_rep_token", 1)
    if hidden != HIDDEN_DIM:
        raise UnsupportedModelError(
            f"{weights.path} has hidden_dim {hidden}",
            expected=f"{HIDDEN_DIM}: the decoder's sine code of reference points has that many channels",
        )
    span_outputs = weights.shape("span_embed.layers.2.weight", 2)[0]
    loss = options.values.get("span_loss_type", "l1")
    if loss != "l1" or span_outputs != 2:
        raise UnsupportedModelError(
            f"{weights.path} predicts moments as classes of start and end",
            received=f"span_loss_type {loss}, {span_outputs} span outputs",
            expected="span_loss_type l1 (centre and width)",
        )
    for key, wanted in (("pre_norm", False), ("position_embedding", "sine")):
        said = options.values.get(key, wanted)
        if said != wanted:
            raise UnsupportedModelError(
                f"{weights.path} was trained with {key} = {said}", expected=f"{key} = {wanted}"
            )


def _temperature(family: Family, options: TrainingOptions) -> float:
    """The temperature of the sigmoid family's attention gate; the others have none."""
    if family != "sigmoid":
        return 1.0
    value = options.number("gate_temperature", "mha_gate_temp", 1.5)
    if value == 0:
        raise UnsupportedModelError(f"{options.path} has mha_gate_temp 0", expected="a temperature")
    return value


def _only_gating(options: TrainingOptions, choices: Choices, family: Family, real: Gating) -> Gating:
    """The gating of a family that has only one."""
    if choices.gating not in (None, real):
        raise WeightsMismatchError(
            f"--gating {choices.gating} contradicts the weights of {options.path}",
            received=f"a model of the {family} family",
            expected=f"--gating {real}",
            fix="leave --gating out, or give the checkpoint that was meant",
        )
    options.record("gating", real, WEIGHTS)
    return real


def _gating(family: Family, weights: WeightShapes, options: TrainingOptions, choices: Choices) -> Gating:
    if family == "ssm":
        return _only_gating(options, choices, family, "global_diagstrip_ssm")
    if family == "base_avigate":
        return _only_gating(options, choices, family, "global")
    channels = weights.shape("fusion.fusion_layers.0.gating_function.mlp_mha.2.weight", 2)[0]
    trained: Any = options.get("gating_type")
    if choices.gating is not None and choices.gating not in GATINGS:
        raise UnsupportedModelError(
            f"this checkpoint cannot have '{choices.gating}' gating", expected=f"one of {', '.join(GATINGS)}"
        )
    if channels > 1:
        if choices.gating not in (None, "elementwise"):
            raise _contradiction(options, str(choices.gating), "elementwise", channels)
        if trained not in (None, "elementwise"):
            options.warnings.append(
                f"{options.source} says gating_type = {trained}, the weights are elementwise: "
                "the weights are used"
            )
        options.record("gating", "elementwise", WEIGHTS)
        return "elementwise"
    if choices.gating == "elementwise":
        raise _contradiction(options, "elementwise", "global or clipwise", channels)
    if choices.gating is not None:
        if trained is not None and trained != choices.gating:
            options.ask(
                f"--gating {choices.gating} differs from training, which recorded {trained}: "
                "the gates are not those the model was trained with"
            )
        options.record("gating", choices.gating, FLAG)
        return cast(Gating, choices.gating)
    if trained in ("global", "clipwise"):
        options.record("gating", trained, options.source)
        return cast(Gating, trained)
    raise UnknownFactError(
        f"{options.path}: the gating type is recorded nowhere; global and clipwise have the same weights",
        facts=("gating",),
        received="no gating_type in the options" if trained is None else f"gating_type = {trained}",
        expected="global or clipwise",
        fix="say what the model was trained with: --gating global or --gating clipwise "
        "(--verify finds out which, where you have predictions of training)",
    )


def _contradiction(options: TrainingOptions, asked: str, real: str, channels: int) -> WeightsMismatchError:
    return WeightsMismatchError(
        f"--gating {asked} contradicts the weights of {options.path}",
        received=f"gates of {channels} channel{'s' if channels > 1 else ''} (mlp_mha.2.weight)",
        expected=f"--gating {real}",
        fix="leave --gating out, or give the checkpoint that was meant",
    )


def _attention_activation(
    family: Family, options: TrainingOptions, choices: Choices, gating: Gating
) -> Activation:
    """Tanh, unless the family, a flag or the options' origin says sigmoid; the weights are alike."""
    if family in ("sigmoid", "ssm"):
        if choices.attention_activation == "tanh":
            raise WeightsMismatchError(
                f"--attention-activation tanh contradicts the weights of {options.path}",
                received=f"a model of the {family} family",
                expected="sigmoid",
                fix="leave --attention-activation out",
            )
        options.record("attention_activation", "sigmoid", WEIGHTS)
        return "sigmoid"
    # The training code with the SSM gate gives plain global gating a sigmoid and records its own options.
    likely: Activation = "sigmoid" if gating == "global" and "ssm_band_width" in options.values else "tanh"
    if choices.attention_activation is not None:
        options.record("attention_activation", choices.attention_activation, FLAG)
        return choices.attention_activation
    if likely == "tanh" and gating == "global" and family == "avigate_custom":
        options.ask(
            "weights with global gating fit a tanh as well as a sigmoid attention gate: tanh is used, as in "
            "AVIGATEFusionCustom; --attention-activation sigmoid overrides it, --verify tells which it is"
        )
    if likely == "sigmoid":
        options.ask(
            "the options come from the training code with the SSM gate, where global gating has a sigmoid "
            "attention gate: sigmoid is used; --attention-activation tanh overrides it, --verify tells which "
            "it is"
        )
        options.record("attention_activation", likely, options.source)
    else:
        options.record("attention_activation", likely, DEFAULT)
    return likely


def _fusion_heads(family: Family, options: TrainingOptions, choices: Choices) -> int:
    if family == "base_avigate" and choices.fusion_heads is None:
        # A constant of that training code, which never reads the option.
        options.record("fusion_heads", BASE_AVIGATE_HEADS, FAMILY)
        return BASE_AVIGATE_HEADS
    return _heads(options, "fusion_heads", "fusion_n_heads", choices.fusion_heads, "--fusion-heads")


def _heads(options: TrainingOptions, name: str, key: str, flag: int | None, flag_name: str) -> int:
    recorded = whole(options.get(key))
    if flag is not None:
        heads, source = flag, FLAG
        if recorded is not None and recorded != flag:
            options.ask(f"{flag_name} {flag} differs from training, which recorded {key} = {recorded}")
    elif recorded is not None:
        heads, source = recorded, options.source
    else:
        raise UnknownFactError(
            f"{options.path}: the number of attention heads is recorded nowhere; the weights cannot tell it",
            facts=(name,),
            received=f"no {key} in the options",
            fix=f"say what the model was trained with: {flag_name} N "
            f"(the training script's default is {8 if key == 'nheads' else 4})",
        )
    if heads < 1 or HIDDEN_DIM % heads:
        raise UnknownFactError(
            f"{heads} attention heads do not divide {HIDDEN_DIM} channels",
            facts=(name,),
            received=f"{key} = {heads} ({source})",
            fix=f"give {flag_name} a number that divides {HIDDEN_DIM}",
        )
    options.record(name, heads, source)
    return heads
