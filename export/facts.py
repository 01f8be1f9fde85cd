"""What a checkpoint's model is: sizes from its weights, the rest from options or flags, nothing guessed.

Where options and weights disagree on a size the weights win, with a warning. Heads and the difference
between global and clipwise gating leave no trace in the weights: recorded nowhere and not given, they are
an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from ..runtime.errors import UnknownFactError, UnsupportedModelError, WeightsMismatchError
from ..runtime.manifest import Fact, Preprocessing
from .checkpoint import Checkpoint
from .choices import Choices
from .families import recognise
from .model.config import HIDDEN_DIM, Activation, Gating, ModelConfig
from .options import DEFAULT, FLAG, WEIGHTS, Options
from .preprocessing import TEF_CHANNELS, find_preprocessing

GATINGS: tuple[Gating, ...] = ("global", "clipwise", "elementwise")


@dataclass(frozen=True)
class Description:
    """A checkpoint's model, ready to be rebuilt, with the origin of every fact and all warnings."""

    family: str
    config: ModelConfig
    preprocessing: Preprocessing
    facts: dict[str, Fact]
    warnings: tuple[str, ...]
    eval_batch_size: int | None


def describe(checkpoint: Checkpoint, choices: Choices) -> Description:
    """Everything needed to rebuild the checkpoint's model under the user's ``choices``.

    Raises :class:`UnknownFactError`, :class:`WeightsMismatchError`, :class:`UnsupportedModelError` or
    :class:`~gatescope.runtime.errors.CheckpointError`.
    """
    family = recognise(checkpoint.weights, checkpoint.path)
    options = Options(checkpoint.path, checkpoint.options, checkpoint.options_source)
    if checkpoint.options_source is None:
        options.warnings.append(
            "no training options were found (no 'opt' inside, no opt.json beside the file): "
            "preprocessing follows the training script's defaults"
        )
    weights = _Weights(checkpoint, options)
    _refuse_unsupported(weights, options)
    sizes = _sizes(weights, checkpoint.weights, options)
    gating = _gating(weights, options, choices)
    config = ModelConfig(
        gating=gating,
        attention_activation=_attention_activation(options, choices, gating),
        batching=choices.batching,
        heads=_heads(options, "heads", "nheads", choices.heads, "--heads"),
        fusion_heads=_heads(
            options, "fusion_heads", "fusion_n_heads", choices.fusion_heads, "--fusion-heads"
        ),
        text_positions=options.switch("text_positions", "use_txt_pos", False),
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
    return Description(family, config, preprocessing, options.facts, tuple(options.warnings), batch_size)


class _Weights:
    """Reads sizes off the parameters of one checkpoint; an option that says otherwise becomes a warning."""

    def __init__(self, checkpoint: Checkpoint, options: Options) -> None:
        self.path = checkpoint.path
        self._weights: Mapping[str, Tensor] = checkpoint.weights
        self._options = options

    def shape(self, parameter: str, axes: int) -> tuple[int, ...]:
        """The shape of a parameter a size is read from."""
        tensor = self._weights.get(parameter)
        if tensor is None or tensor.ndim != axes:
            what = "is missing" if tensor is None else f"has shape {tuple(tensor.shape)}"
            raise WeightsMismatchError(
                f"{self.path}: parameter {parameter} {what}, so the model's size cannot be read",
                expected=f"a tensor with {axes} axes",
                fix="give a complete checkpoint of the model",
            )
        return tuple(tensor.shape)

    def count(self, prefix: str) -> int:
        """How many numbered modules there are under ``prefix``."""
        parts = {name[len(prefix) :].split(".")[0] for name in self._weights if name.startswith(prefix)}
        found = sorted(int(part) for part in parts if part.isdecimal())
        if found != list(range(len(found))) or not found:
            raise WeightsMismatchError(
                f"{self.path}: layers are missing under {prefix}",
                received=f"layers {', '.join(map(str, found[:20])) or 'none'}",
                expected="every layer from 0 up",
                fix="give a complete checkpoint of the model",
            )
        return len(found)

    def size(self, name: str, value: int, *keys: str) -> int:
        """Record a size the weights show; warn where an option under ``keys`` says otherwise."""
        self._options.record(name, value, WEIGHTS)
        for key in keys:
            said = self._options.get(key)
            if said is not None and said != value:
                self._options.warnings.append(
                    f"{self._options.source} says {key} = {said}, the weights have {value}: "
                    "the weights are used"
                )
        return value

    def width(self, name: str, projection: str, key: str) -> int:
        """Input channels, TEF included; training adds TEF's two after opt.json is written: both are right."""
        width = self.shape(projection + "0.LayerNorm.weight", 1)[0]
        return self.size(name, width, *(() if self._options.get(key) == width - TEF_CHANNELS else (key,)))


def _refuse_unsupported(weights: _Weights, options: Options) -> None:
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


def _sizes(weights: _Weights, parameters: Mapping[str, Tensor], options: Options) -> dict[str, Any]:
    """Everything the parameters' shapes tell, as arguments of :class:`ModelConfig`."""
    layer = "fusion.fusion_layers.0."
    table = parameters.get("txt_position_embed.position_embeddings.weight")
    size, shape, count = weights.size, weights.shape, weights.count
    feedforward = shape("transformer.encoder.layers.0.linear1.weight", 2)[0]
    return {
        "video_width": weights.width("video_width", "input_vid_proj.", "v_feat_dim"),
        "audio_width": weights.width("audio_width", "input_aud_proj.", "a_feat_dim"),
        "text_width": size("text_width", shape("input_txt_proj.0.LayerNorm.weight", 1)[0], "t_feat_dim"),
        "hidden_dim": size("hidden_dim", HIDDEN_DIM, "hidden_dim"),
        "input_projections": size("input_projections", count("input_vid_proj."), "n_input_proj"),
        "fusion_layers": size("fusion_layers", count("fusion.fusion_layers."), "fusion_layers"),
        "fusion_feedforward": shape(layer + "ffn1.0.weight", 2)[0],
        "gate_hidden": shape(layer + "gating_function.mlp_mha.0.weight", 2)[0],
        "encoder_layers": size("encoder_layers", count("transformer.encoder.layers."), "enc_layers"),
        "t2v_layers": size("t2v_layers", count("transformer.t2v_encoder.layers.")),
        "decoder_layers": size("decoder_layers", count("transformer.decoder.layers."), "dec_layers"),
        "feedforward": size("feedforward", feedforward, "dim_feedforward"),
        "queries": size("queries", shape("query_embed.weight", 2)[0], "num_queries"),
        # The table may be absent where text positions are off; then the option bounds the words.
        "max_words": options.count("max_q_l", "max_q_l", 32) if table is None else table.shape[0],
    }


def _gating(weights: _Weights, options: Options, choices: Choices) -> Gating:
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
            options.warnings.append(
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
        received="no gating_type in the options" if trained is None else f"gating_type = {trained}",
        expected="global or clipwise",
        fix="say what the model was trained with: --gating global or --gating clipwise "
        "(--verify finds out which, where you have predictions of training)",
    )


def _contradiction(options: Options, asked: str, real: str, channels: int) -> WeightsMismatchError:
    return WeightsMismatchError(
        f"--gating {asked} contradicts the weights of {options.path}",
        received=f"gates of {channels} channel{'s' if channels > 1 else ''} (mlp_mha.2.weight)",
        expected=f"--gating {real}",
        fix="leave --gating out, or give the checkpoint that was meant",
    )


def _attention_activation(options: Options, choices: Choices, gating: Gating) -> Activation:
    """Tanh, unless a flag or the options' origin says sigmoid; the weights are alike."""
    # The training code with the SSM gate gives plain global gating a sigmoid and records its own options.
    likely: Activation = "sigmoid" if gating == "global" and "ssm_band_width" in options.values else "tanh"
    if choices.attention_activation is not None:
        options.record("attention_activation", choices.attention_activation, FLAG)
        return choices.attention_activation
    if likely == "tanh" and gating == "global":
        options.warnings.append(
            "weights with global gating fit a tanh as well as a sigmoid attention gate: tanh is used, as in "
            "AVIGATEFusionCustom; --attention-activation sigmoid overrides it, --verify tells which it is"
        )
    if likely == "sigmoid":
        options.warnings.append(
            "the options come from the training code with the SSM gate, where global gating has a sigmoid "
            "attention gate: sigmoid is used; --attention-activation tanh overrides it, --verify tells"
        )
        options.record("attention_activation", likely, options.source)
    else:
        options.record("attention_activation", likely, DEFAULT)
    return likely


def _heads(options: Options, name: str, key: str, flag: int | None, flag_name: str) -> int:
    recorded: Any = options.get(key)
    if flag is not None:
        heads, source = flag, FLAG
        if recorded is not None and recorded != flag:
            options.warnings.append(
                f"{flag_name} {flag} differs from training, which recorded {key} = {recorded}"
            )
    elif isinstance(recorded, int) and not isinstance(recorded, bool):
        heads, source = recorded, options.source
    else:
        raise UnknownFactError(
            f"{options.path}: the number of attention heads is recorded nowhere; the weights cannot tell it",
            received=f"no {key} in the options",
            fix=f"say what the model was trained with: {flag_name} N "
            f"(the training script's default is {8 if key == 'nheads' else 4})",
        )
    if heads < 1 or HIDDEN_DIM % heads:
        raise UnknownFactError(
            f"{heads} attention heads do not divide {HIDDEN_DIM} channels",
            received=f"{key} = {heads} ({source})",
            fix=f"give {flag_name} a number that divides {HIDDEN_DIM}",
        )
    options.record(name, heads, source)
    return heads
