"""What a checkpoint's model is: sizes from its weights, the rest from options or flags.

Every fact carries its origin, and what is assumed is said in a warning. Where options and weights disagree on
a size the weights win, with a warning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...runtime.errors import GatescopeError, UnsupportedModelError
from ...runtime.gates.manifest import Fact, Forward
from ...runtime.gates.preprocessing import Preprocessing
from ...runtime.gates.vocabulary import Family, Gating
from ..families.choices import Choices
from ..families.config import HIDDEN_DIM, ModelConfig
from ..families.family import FAMILIES, FusionFamily
from .checkpoint import Checkpoint
from .family import choose_family
from .forward import activation_by_code, find_forward
from .open_facts import (
    UnknownFacts,
    find_attention_activation,
    find_fusion_heads,
    find_gating,
    find_heads,
    find_text_positions,
    fitting_gatings,
    stand_in,
)
from .options import DEFAULT, FLAG, TrainingOptions
from .preprocessing import find_preprocessing
from .weights import FIRST_LAYER, WeightShapes, find_sizes, find_ssm, recognise


@dataclass(frozen=True)
class Description:
    """A checkpoint's model, ready to be rebuilt, with the origin of every fact and all warnings.

    ``open_questions``: the warnings that a comparison with training's predictions settles. ``forward``: where
    its forward pass is known from.
    """

    family: Family
    config: ModelConfig
    preprocessing: Preprocessing
    facts: dict[str, Fact]
    warnings: tuple[str, ...]
    eval_batch_size: int | None
    open_questions: tuple[str, ...]
    forward: Forward


def describe(checkpoint: Checkpoint, choices: Choices) -> Description:
    """Everything needed to rebuild the checkpoint's model under the user's ``choices``.

    Raises :class:`UnknownFactError`, :class:`WeightsMismatchError`, :class:`UnsupportedModelError` or
    :class:`~gatescope.runtime.errors.CheckpointError`.
    """
    unknown = UnknownFacts()
    family, known_from = unknown.ask(
        lambda: choose_family(checkpoint, choices),
        (FAMILIES[recognise(checkpoint.weights, checkpoint.path)], DEFAULT),
    )
    options = TrainingOptions(checkpoint.path, checkpoint.options, checkpoint.options_source)
    options.record("family", family.name, known_from)
    options.warnings += checkpoint.notes
    if checkpoint.options_source is None:
        options.warnings.append(
            "no training options were found (no 'opt' inside, no opt.json next to the file): "
            "preprocessing follows the training script's defaults"
        )
    weights = WeightShapes(checkpoint, options)
    _refuse_unsupported(weights, options)
    sizes = find_sizes(family, weights, options)
    fitting = fitting_gatings(family, weights)
    gating: Gating = unknown.ask(lambda: find_gating(family, weights, options, choices), stand_in(fitting))
    heads = unknown.ask(lambda: find_heads(options, "heads", "nheads", choices.heads, "--heads"), 1)
    fusion_heads = unknown.ask(lambda: find_fusion_heads(family, options, choices), 1)
    unknown.refuse(checkpoint, fitting)
    config = ModelConfig(
        gating=gating,
        attention_activation=find_attention_activation(
            family, options, choices, gating, activation_by_code(checkpoint, gating)
        ),
        batching=choices.batching,
        heads=heads,
        fusion_heads=fusion_heads,
        text_positions=find_text_positions(checkpoint, options, choices),
        family=family.name,
        gate_temperature=_temperature(family, options),
        film=_film(family, weights),
        ssm=find_ssm(family, weights, options) if family.strip_gates else None,
        **sizes,
    )
    preprocessing = find_preprocessing(
        options,
        choices,
        widths=(config.video_width, config.audio_width, config.text_width),
        max_words=config.max_words,
    )
    forward = find_forward(checkpoint, config, options)
    if choices.frozen:
        options.record("frozen", ", ".join(choices.frozen), FLAG)
    recorded = options.get("eval_bsz")
    batch_size = options.count("eval_batch_size", "eval_bsz", 1) if recorded is not None else None
    return Description(
        family.name,
        config,
        preprocessing,
        options.facts,
        tuple(options.warnings),
        batch_size,
        tuple(options.open_questions),
        forward,
    )


def facts_apart(checkpoint: Checkpoint) -> dict[str, Fact]:
    """Facts found one by one, of a checkpoint that as a whole makes no model."""
    options = TrainingOptions(checkpoint.path, checkpoint.options, checkpoint.options_source)
    weights = WeightShapes(checkpoint, options)
    seen: dict[str, Callable[[], int]] = {
        "fusion_layers": lambda: weights.count("fusion.fusion_layers."),
        "video_width": lambda: weights.shape("input_vid_proj.0.LayerNorm.weight", 1)[0],
        "audio_width": lambda: weights.shape("input_aud_proj.0.LayerNorm.weight", 1)[0],
        "text_width": lambda: weights.shape("input_txt_proj.0.LayerNorm.weight", 1)[0],
        "hidden_dim": lambda: weights.shape("global_rep_token", 1)[0],
        "encoder_layers": lambda: weights.count("transformer.encoder.layers."),
        "t2v_layers": lambda: weights.count("transformer.t2v_encoder.layers."),
        "decoder_layers": lambda: weights.count("transformer.decoder.layers."),
        "queries": lambda: weights.shape("query_embed.weight", 2)[0],
    }
    facts: dict[str, Fact] = {}
    for name, look in seen.items():
        try:
            facts[name] = Fact(look(), "weights")
        except GatescopeError:
            continue
    recorded = (("gating", "gating_type"), ("heads", "nheads"), ("fusion_heads", "fusion_n_heads"))
    for name, key in recorded:
        value = options.get(key)
        if isinstance(value, (str, int)):
            facts[name] = Fact(value, options.source)
    return facts


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


def _temperature(family: FusionFamily, options: TrainingOptions) -> float:
    """The temperature of the attention gate; 1 where the family has none."""
    if not family.tempered:
        return 1.0
    value = options.number("gate_temperature", "mha_gate_temp", 1.5)
    if value == 0:
        raise UnsupportedModelError(f"{options.path} has mha_gate_temp 0", expected="a temperature")
    return value


def _film(family: FusionFamily, weights: WeightShapes) -> bool:
    """Whether the FFN gate acts as 1 + g and brings a shift."""
    scale = family.film_parameter
    return scale is not None and weights.has(f"{FIRST_LAYER}{family.gate_parameters}{scale}")
