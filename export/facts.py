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
from ..runtime.manifest import Fact, Preprocessing, Scalar
from .checkpoint import Checkpoint
from .choices import Choices
from .families import recognise
from .model.config import HIDDEN_DIM, Activation, Gating, ModelConfig
from .preprocessing import find_preprocessing

GATINGS: tuple[Gating, ...] = ("global", "clipwise", "elementwise")

WEIGHTS, FLAG, DEFAULT = "weights", "flag", "default"


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
    find = _Finder(checkpoint)
    _refuse_unsupported(find)
    sizes = _sizes(find)
    gating = _gating(find, choices)
    activation = _attention_activation(find, choices, gating)
    config = ModelConfig(
        gating=gating,
        attention_activation=activation,
        batching=choices.batching,
        heads=_heads(find, "heads", "nheads", choices.heads, "--heads"),
        fusion_heads=_heads(find, "fusion_heads", "fusion_n_heads", choices.fusion_heads, "--fusion-heads"),
        text_positions=bool(find.option("text_positions", "use_txt_pos", default=False)),
        **sizes,
    )
    preprocessing = find_preprocessing(
        find.options,
        find.source,
        widths=(config.video_width, config.audio_width, config.text_width),
        max_words=config.max_words,
        choices=choices,
        facts=find.facts,
        warnings=find.warnings,
    )
    batch = find.options.get("eval_bsz")
    return Description(
        family,
        config,
        preprocessing,
        find.facts,
        tuple(find.warnings),
        batch if isinstance(batch, int) and batch > 0 else None,
    )


class _Finder:
    """Looks facts up in one checkpoint and keeps a record of where each came from."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.path = checkpoint.path
        self.weights: Mapping[str, Tensor] = checkpoint.weights
        self.options = checkpoint.options
        self.source = checkpoint.options_source or "opt"
        self.facts: dict[str, Fact] = {}
        self.warnings: list[str] = []
        if checkpoint.options_source is None:
            self.warnings.append(
                "no training options were found (no 'opt' inside, no opt.json beside the file): "
                "preprocessing follows the training script's defaults"
            )

    def record(self, name: str, value: Scalar, source: str) -> None:
        self.facts[name] = Fact(value, source)

    def option(self, name: str, key: str, *, default: Scalar) -> Scalar:
        """An option no weight can tell, else the training script's default."""
        value: Any = self.options.get(key)
        if value is None:
            self.record(name, default, DEFAULT)
            return default
        self.record(name, value, self.source)
        return cast(Scalar, value)

    def shape(self, parameter: str, axes: int) -> tuple[int, ...]:
        """The shape of a parameter a size is read from."""
        tensor = self.weights.get(parameter)
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
        parts = {name[len(prefix) :].split(".")[0] for name in self.weights if name.startswith(prefix)}
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
        """A size the weights show; warns where an option says otherwise."""
        self.record(name, value, WEIGHTS)
        for key in keys:
            said: Any = self.options.get(key)
            if said is not None and said != value:
                self.warnings.append(
                    f"{self.source} says {key} = {said}, the weights have {value}: the weights are used"
                )
        return value


def _refuse_unsupported(find: _Finder) -> None:
    (hidden,) = find.shape("global_rep_token", 1)
    if hidden != HIDDEN_DIM:
        raise UnsupportedModelError(
            f"{find.path} has hidden_dim {hidden}",
            expected=f"{HIDDEN_DIM}: the decoder's sine code of reference points has that many channels",
        )
    span_outputs = find.shape("span_embed.layers.2.weight", 2)[0]
    loss = find.options.get("span_loss_type", "l1")
    if loss != "l1" or span_outputs != 2:
        raise UnsupportedModelError(
            f"{find.path} predicts moments as classes of start and end",
            received=f"span_loss_type {loss}, {span_outputs} span outputs",
            expected="span_loss_type l1 (centre and width)",
        )
    for key, wanted in (("pre_norm", False), ("position_embedding", "sine")):
        said = find.options.get(key, wanted)
        if said != wanted:
            raise UnsupportedModelError(
                f"{find.path} was trained with {key} = {said}", expected=f"{key} = {wanted}"
            )


def _sizes(find: _Finder) -> dict[str, Any]:
    layer = "fusion.fusion_layers.0."
    projections = find.count("input_vid_proj.")
    encoder_layers = find.size("encoder_layers", find.count("transformer.encoder.layers."), "enc_layers")
    words = find.weights.get("txt_position_embed.position_embeddings.weight")
    limit: Any = find.options.get("max_q_l")
    return {
        "video_width": _width(find, "video_width", "input_vid_proj.", "v_feat_dim"),
        "audio_width": _width(find, "audio_width", "input_aud_proj.", "a_feat_dim"),
        "text_width": find.size(
            "text_width", find.shape("input_txt_proj.0.LayerNorm.weight", 1)[0], "t_feat_dim"
        ),
        "hidden_dim": find.size("hidden_dim", HIDDEN_DIM, "hidden_dim"),
        "input_projections": find.size("input_projections", projections, "n_input_proj"),
        "fusion_layers": find.size("fusion_layers", find.count("fusion.fusion_layers."), "fusion_layers"),
        "fusion_feedforward": find.shape(layer + "ffn1.0.weight", 2)[0],
        "gate_hidden": find.shape(layer + "gating_function.mlp_mha.0.weight", 2)[0],
        "encoder_layers": encoder_layers,
        "t2v_layers": find.count("transformer.t2v_encoder.layers."),
        "decoder_layers": find.size(
            "decoder_layers", find.count("transformer.decoder.layers."), "dec_layers"
        ),
        "feedforward": find.size(
            "feedforward", find.shape("transformer.encoder.layers.0.linear1.weight", 2)[0], "dim_feedforward"
        ),
        "queries": find.size("queries", find.shape("query_embed.weight", 2)[0], "num_queries"),
        # The table may be absent where text positions are off; then the option bounds the words.
        "max_words": words.shape[0] if words is not None else limit if isinstance(limit, int) else 32,
    }


def _width(find: _Finder, name: str, projection: str, key: str) -> int:
    """Input channels, TEF included; training adds TEF's two after opt.json is written, so both are right."""
    width = find.shape(projection + "0.LayerNorm.weight", 1)[0]
    said = find.options.get(key)
    return find.size(name, width, *(() if said == width - 2 else (key,)))


def _gating(find: _Finder, choices: Choices) -> Gating:
    channels = find.shape("fusion.fusion_layers.0.gating_function.mlp_mha.2.weight", 2)[0]
    trained: Any = find.options.get("gating_type")
    if choices.gating is not None and choices.gating not in GATINGS:
        raise UnsupportedModelError(
            f"this checkpoint cannot have '{choices.gating}' gating", expected=f"one of {', '.join(GATINGS)}"
        )
    if channels > 1:
        if choices.gating not in (None, "elementwise"):
            raise _contradiction(find, str(choices.gating), "elementwise", channels)
        if trained not in (None, "elementwise"):
            find.warnings.append(
                f"{find.source} says gating_type = {trained}, the weights are elementwise: "
                "the weights are used"
            )
        find.record("gating", "elementwise", WEIGHTS)
        return "elementwise"
    if choices.gating == "elementwise":
        raise _contradiction(find, "elementwise", "global or clipwise", channels)
    if choices.gating is not None:
        if trained is not None and trained != choices.gating:
            find.warnings.append(
                f"--gating {choices.gating} differs from training, which recorded {trained}: "
                "the gates are not those the model was trained with"
            )
        find.record("gating", choices.gating, FLAG)
        return cast(Gating, choices.gating)
    if trained in ("global", "clipwise"):
        find.record("gating", trained, find.source)
        return cast(Gating, trained)
    raise UnknownFactError(
        f"{find.path}: the gating type is recorded nowhere, and the weights of global and clipwise are alike",
        received="no gating_type in the options" if trained is None else f"gating_type = {trained}",
        expected="global or clipwise",
        fix="say what the model was trained with: --gating global or --gating clipwise "
        "(--verify finds out which, where you have predictions of training)",
    )


def _contradiction(find: _Finder, asked: str, real: str, channels: int) -> WeightsMismatchError:
    return WeightsMismatchError(
        f"--gating {asked} contradicts the weights of {find.path}",
        received=f"gates of {channels} channel{'s' if channels > 1 else ''} (mlp_mha.2.weight)",
        expected=f"--gating {real}",
        fix="leave --gating out, or give the checkpoint that was meant",
    )


def _attention_activation(find: _Finder, choices: Choices, gating: Gating) -> Activation:
    """Tanh, unless a flag or the options' origin says sigmoid; the weights are alike."""
    # The training code with the SSM gate gives plain global gating a sigmoid and records its own options.
    likely: Activation = "sigmoid" if gating == "global" and "ssm_band_width" in find.options else "tanh"
    if choices.attention_activation is not None:
        find.record("attention_activation", choices.attention_activation, FLAG)
        return choices.attention_activation
    if likely == "tanh" and gating == "global":
        find.warnings.append(
            "weights with global gating fit a tanh as well as a sigmoid attention gate: tanh is used, as in "
            "AVIGATEFusionCustom; --attention-activation sigmoid overrides it, --verify tells which it is"
        )
    if likely == "sigmoid":
        find.warnings.append(
            "the options come from the training code with the SSM gate, where global gating has a sigmoid "
            "attention gate: sigmoid is used; --attention-activation tanh overrides it, --verify tells"
        )
        find.record("attention_activation", likely, find.source)
    else:
        find.record("attention_activation", likely, DEFAULT)
    return likely


def _heads(find: _Finder, name: str, key: str, flag: int | None, flag_name: str) -> int:
    recorded: Any = find.options.get(key)
    if flag is not None:
        heads, source = flag, FLAG
        if recorded is not None and recorded != flag:
            find.warnings.append(
                f"{flag_name} {flag} differs from training, which recorded {key} = {recorded}"
            )
    elif isinstance(recorded, int) and not isinstance(recorded, bool):
        heads, source = recorded, find.source
    else:
        raise UnknownFactError(
            f"{find.path}: the number of attention heads is recorded nowhere, and the weights cannot tell it",
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
    find.record(name, heads, source)
    return heads
