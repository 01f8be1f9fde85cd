"""What a checkpoint's parameters show: its family by their names, sizes by their shapes.

An option that contradicts a size becomes a warning.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ...runtime.errors import CheckpointError, WeightsMismatchError
from ...runtime.gates.vocabulary import TEF_CHANNELS, Family
from ..families.config import HIDDEN_DIM, SsmConfig
from ..families.family import FAMILIES, FusionFamily
from .checkpoint import Checkpoint
from .options import WEIGHTS, TrainingOptions

# A file that lacks parameters is a part of a model, or the whole of another one.
COMPLETE_OR_OWN_CODE = (
    "give a complete checkpoint; if it is complete, another branch of the training code made it: let that "
    "code build the model, --model package.module:factory"
)
FIRST_LAYER = "fusion.fusion_layers.0."


class WeightShapes:
    """The shapes of one checkpoint's parameters."""

    def __init__(self, checkpoint: Checkpoint, options: TrainingOptions) -> None:
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
                fix=COMPLETE_OR_OWN_CODE,
            )
        return tuple(tensor.shape)

    def count(self, prefix: str) -> int:
        """How many numbered modules there are under ``prefix``."""
        found = self._numbers(prefix)
        if found != list(range(len(found))) or not found:
            raise WeightsMismatchError(
                f"{self.path}: layers are missing under {prefix}",
                received=f"layers {', '.join(map(str, found[:20])) or 'none'}",
                expected="every layer from 0 up",
                fix=COMPLETE_OR_OWN_CODE,
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

    def _numbers(self, prefix: str) -> list[int]:
        parts = {name[len(prefix) :].split(".")[0] for name in self._weights if name.startswith(prefix)}
        return sorted(int(part) for part in parts if part.isdecimal())

    def has(self, parameter: str) -> bool:
        """Whether there is such a parameter."""
        return parameter in self._weights

    def highest(self, prefix: str) -> int:
        """The highest number of a module under ``prefix``; 0 where there is none."""
        return max(self._numbers(prefix), default=0)

    def width(self, name: str, width: int, key: str) -> int:
        """Input channels, TEF included; training adds TEF's two after opt.json is written: both are right."""
        return self.size(name, width, *(() if self._options.get(key) == width - TEF_CHANNELS else (key,)))


def recognise(names: Collection[str], path: Path) -> Family:
    """The family of the checkpoint at ``path`` whose parameters are called ``names``.

    Raises :class:`CheckpointError` for another kind of model.
    """
    if not any(name.startswith("fusion.") for name in names):
        raise CheckpointError(
            f"{path} has no gated fusion in it",
            received=_describe(names),
            expected="parameters under 'fusion.' (a QD-DETR model trained with an AVIGATE fusion)",
            fix="give the checkpoint of a model trained with --use_avigate_custom, or let your own code "
            "build the model: --model package.module:factory",
        )
    if not any(name.startswith("transformer.t2v_encoder.") for name in names):
        raise CheckpointError(
            f"{path} is not a QD-DETR model",
            received=_describe(names),
            expected="parameters under 'transformer.t2v_encoder.' next to 'fusion.'",
            fix="give the checkpoint of the whole model, not of a part of it, or let your own code build the "
            "model: --model package.module:factory",
        )
    for family, record in FAMILIES.items():
        if record.mark is not None and any(record.mark in name for name in names):
            return family
    return next(family for family, record in FAMILIES.items() if record.mark is None)


def _describe(names: Collection[str]) -> str:
    tops = list(dict.fromkeys(name.split(".")[0] for name in names))
    more = f" and {len(tops) - 8} more" if len(tops) > 8 else ""
    return f"{len(names)} parameters under {', '.join(tops[:8])}{more}"


def find_sizes(family: FusionFamily, weights: WeightShapes, options: TrainingOptions) -> dict[str, Any]:
    """Everything the parameters' shapes show, as arguments of :class:`ModelConfig`."""
    table = "txt_position_embed.position_embeddings.weight"
    size, shape, count = weights.size, weights.shape, weights.count
    feedforward = shape("transformer.encoder.layers.0.linear1.weight", 2)[0]
    if family.projects_inputs:
        video, audio = shape("fusion.video_proj.weight", 2)[1], shape("fusion.audio_proj.weight", 2)[1]
    else:
        video = shape("input_vid_proj.0.LayerNorm.weight", 1)[0]
        audio = shape("input_aud_proj.0.LayerNorm.weight", 1)[0]
    return {
        "video_width": weights.width("video_width", video, "v_feat_dim"),
        "audio_width": weights.width("audio_width", audio, "a_feat_dim"),
        "text_width": size("text_width", shape("input_txt_proj.0.LayerNorm.weight", 1)[0], "t_feat_dim"),
        "hidden_dim": size("hidden_dim", HIDDEN_DIM, "hidden_dim"),
        "input_projections": size("input_projections", count("input_txt_proj."), "n_input_proj"),
        # A training code of one layer never reads the option.
        "fusion_layers": size(
            "fusion_layers",
            count("fusion.fusion_layers."),
            *(() if family.constant_fusion_heads else ("fusion_layers",)),
        ),
        "fusion_feedforward": shape(FIRST_LAYER + "ffn1.0.weight", 2)[0],
        "gate_hidden": shape(f"{FIRST_LAYER}{family.gate_parameters}mlp_mha.0.weight", 2)[0],
        "encoder_layers": size("encoder_layers", count("transformer.encoder.layers."), "enc_layers"),
        "t2v_layers": size("t2v_layers", count("transformer.t2v_encoder.layers.")),
        "decoder_layers": size("decoder_layers", count("transformer.decoder.layers."), "dec_layers"),
        "feedforward": size("feedforward", feedforward, "dim_feedforward"),
        "queries": size("queries", shape("query_embed.weight", 2)[0], "num_queries"),
        # The table may be absent where text positions are off; then the option bounds the words.
        "max_words": shape(table, 2)[0] if weights.has(table) else options.count("max_q_l", "max_q_l", 32),
    }


def find_ssm(family: FusionFamily, weights: WeightShapes, options: TrainingOptions) -> SsmConfig:
    """The SSM gate: sizes from the weights, dilations and the diagonal from the options."""
    gate = f"{FIRST_LAYER}{family.gate_parameters}"
    channels, bands, _ = weights.shape(gate + "encoder.net.0.weight", 3)
    blocks = weights.highest(gate + "encoder.net.") // 5
    dilations = options.counts("ssm_dilations", "ssm_dilations", (1, 2, 4))
    if len(dilations) != blocks:
        raise WeightsMismatchError(
            f"{weights.path}: the SSM gate's dilations do not fit its weights",
            received=f"ssm_dilations = {list(dilations)} ({options.facts['ssm_dilations'].source})",
            expected=f"{blocks} dilations",
            fix="give a checkpoint with the options it was trained with",
        )
    return SsmConfig(
        band_width=weights.size("ssm_band_width", (bands - 1) // 2, "ssm_band_width"),
        channels=weights.size("ssm_channels", channels, "ssm_enc_channels"),
        dilations=dilations,
        diag_subtract=options.number("ssm_diag_subtract", "ssm_diag_subtract", 0.1),
        video_branch=weights.shape(gate + "norm.weight", 1)[0] == 2 * channels,
        gate_hidden=weights.shape(gate + "mlp_mha.0.weight", 2)[0],
    )


def gate_channels(family: FusionFamily, weights: WeightShapes) -> int:
    """How many channels the attention gate of the first layer has."""
    return weights.shape(f"{FIRST_LAYER}{family.gate_parameters}mlp_mha.2.weight", 2)[0]
