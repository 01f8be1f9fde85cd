"""Facts that the weights leave open: gating, what bounds the attention gate, heads, positions of words.

Each comes from a flag, else from the options that training recorded, else from what the optimizer's state or
the training script's default says. Gating and heads have no default: recorded nowhere and not given, they are
an error, one for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ...runtime.errors import UnknownFactError, UnsupportedModelError, WeightsMismatchError
from ...runtime.gates.gatings import GATINGS
from ...runtime.gates.vocabulary import Activation, Gating
from ..families.choices import Choices
from ..families.config import HIDDEN_DIM
from ..families.family import FAMILIES, FusionFamily
from .checkpoint import Checkpoint
from .options import CODE, DEFAULT, FAMILY, FLAG, OPTIMIZER, WEIGHTS, TrainingOptions, whole
from .testimony import never_trained
from .weights import WeightShapes, gate_channels

_FLAGS = {"family": "--family NAME", "heads": "--heads N", "fusion_heads": "--fusion-heads N"}

_Found = TypeVar("_Found")


def flag_of_fact(fact: str, gatings: tuple[Gating, ...]) -> str:
    """How a fact that may be recorded nowhere is given; ``gatings``: those that fit the weights."""
    return f"--gating '{'|'.join(gatings)}'" if fact == "gating" else _FLAGS[fact]


class UnknownFacts:
    """Asks for one fact after another, so that all that are recorded nowhere are named at once."""

    def __init__(self) -> None:
        self._errors: list[UnknownFactError] = []

    def ask(self, find: Callable[[], _Found], otherwise: _Found) -> _Found:
        """What ``find`` finds; ``otherwise``, for now, where it is recorded nowhere."""
        try:
            return find()
        except UnknownFactError as error:
            self._errors.append(error)
            return otherwise

    def refuse(self, checkpoint: Checkpoint, gatings: tuple[Gating, ...]) -> None:
        """Raise one error for all that was not found; ``gatings``: those that fit the weights."""
        if len(self._errors) == 1:
            raise self._errors[0]
        facts = [fact for error in self._errors for fact in error.facts]
        if facts:
            flags = [flag_of_fact(fact, gatings) for fact in facts]
            names = ", ".join(fact.replace("_", " ") for fact in facts)
            raise UnknownFactError(
                f"{checkpoint.path}: {len(facts)} facts are recorded nowhere, and the weights do not show "
                f"them: {names}",
                facts=facts,
                received="; ".join(str(error.received) for error in self._errors),
                fix=f"say what the model was trained with: {' '.join(flags)} "
                "(the training script's defaults are 8 heads and 4 fusion heads)",
            )


def alike_gatings(family: FusionFamily, *, per_channel: bool) -> tuple[Gating, ...]:
    """The gatings of ``family`` whose gates have one channel, or those with one per channel of the stream.

    These have the same weights.
    """
    return tuple(one for one in family.gatings if GATINGS[one].per_channel == per_channel)


def fitting_gatings(family: FusionFamily, weights: WeightShapes) -> tuple[Gating, ...]:
    """The gatings that the weights fit."""
    if len(family.gatings) == 1:
        return family.gatings
    return alike_gatings(family, per_channel=gate_channels(family, weights) > 1)


def stand_in(gatings: tuple[Gating, ...]) -> Gating:
    """The one of ``gatings`` to go on with where none is known: whatever else is found holds for all."""
    return max(gatings, key=lambda one: GATINGS[one].per_clip)


def find_gating(
    family: FusionFamily, weights: WeightShapes, options: TrainingOptions, choices: Choices
) -> Gating:
    """The gating: the only one that fits the weights, else a flag's, else the recorded one."""
    if len(family.gatings) == 1:
        return _only_gating(options, choices, family)
    channels = gate_channels(family, weights)
    fitting = fitting_gatings(family, weights)
    trained: Any = options.get("gating_type")
    if choices.gating is not None:
        if choices.gating not in family.gatings:
            raise UnsupportedModelError(
                f"this checkpoint cannot have '{choices.gating}' gating",
                expected=f"one of {', '.join(family.gatings)}",
            )
        if choices.gating not in fitting:
            raise WeightsMismatchError(
                f"--gating {choices.gating} contradicts the weights of {options.path}",
                received=f"gates of {channels} channel{'s' if channels > 1 else ''} (mlp_mha.2.weight)",
                expected=f"--gating {' or '.join(fitting)}",
                fix="leave --gating out, or give the checkpoint that was meant",
            )
    if len(fitting) == 1:
        (real,) = fitting
        if trained not in (None, real):
            options.warnings.append(
                f"{options.source} says gating_type = {trained}, the weights are {real}: the weights are used"
            )
        options.record("gating", real, WEIGHTS)
        return real
    if choices.gating is not None:
        if trained is not None and trained != choices.gating:
            options.ask(
                f"--gating {choices.gating} differs from training, which recorded {trained}: "
                "the gates are not those the model was trained with"
            )
        options.record("gating", choices.gating, FLAG)
        return choices.gating
    if trained in fitting:
        options.record("gating", trained, options.source)
        return trained
    raise UnknownFactError(
        f"{options.path}: the gating type is recorded nowhere; {' and '.join(fitting)} have the same weights",
        facts=("gating",),
        received="no gating_type in the options" if trained is None else f"gating_type = {trained}",
        expected=" or ".join(fitting),
        fix=f"say what the model was trained with: {' or '.join(f'--gating {one}' for one in fitting)} "
        "(--verify finds out which, where you have predictions of training)",
    )


def _only_gating(options: TrainingOptions, choices: Choices, family: FusionFamily) -> Gating:
    """The gating of a family that has only one."""
    (real,) = family.gatings
    if choices.gating not in (None, real):
        raise WeightsMismatchError(
            f"--gating {choices.gating} contradicts the weights of {options.path}",
            received=f"a model of the {family.name} family",
            expected=f"--gating {real}",
            fix="leave --gating out, or give the checkpoint that was meant",
        )
    options.record("gating", real, WEIGHTS)
    return real


def find_attention_activation(
    family: FusionFamily,
    options: TrainingOptions,
    choices: Choices,
    gating: Gating,
    said: Activation | None = None,
) -> Activation:
    """The family's own, unless a flag, the code that trained it or the options' origin says another; the
    weights are alike. ``said``: what the code says."""
    own = family.activations[0]
    if len(family.activations) == 1:
        if choices.attention_activation not in (None, own):
            raise WeightsMismatchError(
                f"--attention-activation {choices.attention_activation} contradicts the weights of "
                f"{options.path}",
                received=f"a model of the {family.name} family",
                expected=own,
                fix="leave --attention-activation out",
            )
        options.record("attention_activation", own, WEIGHTS)
        return own
    other, varies = family.activations[1], gating in family.two_activations
    # Training code of another family gives this gating the other activation, and records its own options.
    origin = next((one for one in FAMILIES.values() if one.own_option in options.values), None)
    likely = own if origin is None or not varies else other
    override = f"--attention-activation {own if likely == other else other} overrides it"
    if choices.attention_activation is not None:
        options.record("attention_activation", choices.attention_activation, FLAG)
        return choices.attention_activation
    if said is not None:
        options.record("attention_activation", said, CODE)
        return said
    if likely == own and varies and family.open_activation:
        options.ask(
            f"weights with {gating} gating fit a {own} as well as a {other} attention gate: {own} is used, "
            f"as in {family.title}; {override}, --verify finds out which it is"
        )
    if origin is not None and likely != own:
        options.ask(
            f"the options come from the training code of the {origin.title}, where {gating} gating has a "
            f"{other} attention gate: {other} is used; {override}, --verify finds out which it is"
        )
        options.record("attention_activation", likely, options.source)
    else:
        options.record("attention_activation", likely, DEFAULT)
    return likely


def find_fusion_heads(family: FusionFamily, options: TrainingOptions, choices: Choices) -> int:
    """Attention heads of the fusion."""
    constant = family.constant_fusion_heads
    if constant is not None and choices.fusion_heads is None:
        options.record("fusion_heads", constant, FAMILY)
        return constant
    return find_heads(options, "fusion_heads", "fusion_n_heads", choices.fusion_heads, "--fusion-heads")


def find_heads(options: TrainingOptions, name: str, key: str, flag: int | None, flag_name: str) -> int:
    """A number of attention heads: a flag's, else the one recorded under ``key``."""
    recorded = whole(options.get(key))
    if flag is not None:
        heads, source = flag, FLAG
        if recorded is not None and recorded != flag:
            options.ask(f"{flag_name} {flag} differs from training, which recorded {key} = {recorded}")
    elif recorded is not None:
        heads, source = recorded, options.source
    else:
        raise UnknownFactError(
            f"{options.path}: the number of attention heads is recorded nowhere; the weights do not show it",
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


def find_text_positions(checkpoint: Checkpoint, options: TrainingOptions, choices: Choices) -> bool:
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
