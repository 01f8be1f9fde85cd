"""The sizes of a model, from the shapes of its parameters."""

from __future__ import annotations

from typing import Any

from ...runtime.errors import WeightsMismatchError
from ...runtime.gates.vocabulary import Family
from ..families.config import HIDDEN_DIM, SsmConfig
from .options import TrainingOptions
from .weights import WeightShapes


def find_sizes(family: Family, weights: WeightShapes, options: TrainingOptions) -> dict[str, Any]:
    """Everything the parameters' shapes tell, as arguments of :class:`ModelConfig`."""
    layer = "fusion.fusion_layers.0."
    table = "txt_position_embed.position_embeddings.weight"
    size, shape, count = weights.size, weights.shape, weights.count
    feedforward = shape("transformer.encoder.layers.0.linear1.weight", 2)[0]
    base = family == "base_avigate"
    if base:
        video, audio = shape("fusion.video_proj.weight", 2)[1], shape("fusion.audio_proj.weight", 2)[1]
    else:
        video = shape("input_vid_proj.0.LayerNorm.weight", 1)[0]
        audio = shape("input_aud_proj.0.LayerNorm.weight", 1)[0]
    gate = (
        "gating_function.ssm_gate.mlp_mha.0.weight" if family == "ssm" else "gating_function.mlp_mha.0.weight"
    )
    return {
        "video_width": weights.width("video_width", video, "v_feat_dim"),
        "audio_width": weights.width("audio_width", audio, "a_feat_dim"),
        "text_width": size("text_width", shape("input_txt_proj.0.LayerNorm.weight", 1)[0], "t_feat_dim"),
        "hidden_dim": size("hidden_dim", HIDDEN_DIM, "hidden_dim"),
        "input_projections": size("input_projections", count("input_txt_proj."), "n_input_proj"),
        # Base AVIGATE's training code has one layer and never reads the option.
        "fusion_layers": size(
            "fusion_layers", count("fusion.fusion_layers."), *(() if base else ("fusion_layers",))
        ),
        "fusion_feedforward": shape(layer + "ffn1.0.weight", 2)[0],
        "gate_hidden": shape(layer + gate, 2)[0],
        "encoder_layers": size("encoder_layers", count("transformer.encoder.layers."), "enc_layers"),
        "t2v_layers": size("t2v_layers", count("transformer.t2v_encoder.layers.")),
        "decoder_layers": size("decoder_layers", count("transformer.decoder.layers."), "dec_layers"),
        "feedforward": size("feedforward", feedforward, "dim_feedforward"),
        "queries": size("queries", shape("query_embed.weight", 2)[0], "num_queries"),
        # The table may be absent where text positions are off; then the option bounds the words.
        "max_words": shape(table, 2)[0] if weights.has(table) else options.count("max_q_l", "max_q_l", 32),
    }


def find_ssm(weights: WeightShapes, options: TrainingOptions) -> SsmConfig:
    """The SSM gate: sizes from the weights, dilations and the diagonal from the options."""
    gate = "fusion.fusion_layers.0.gating_function.ssm_gate."
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
