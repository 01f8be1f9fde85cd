"""Arithmetic of the clean model, before any rewrite, counted from its configuration.

Floating-point operations of matrix products only, two for each multiply-add: what is left is small change.
"""

from __future__ import annotations

from gatescope.export.families.config import ModelConfig


def tracked_flops(config: ModelConfig, clips: int, words: int) -> int:
    """One sample through the whole model."""
    fusion = _inputs(config, clips) + config.fusion_layers * (
        _gating(config, clips) + _rest_of_fusion_layer(config, clips)
    )
    return 2 * (fusion + _text(config, words) + _transformer(config, clips, words) + _heads(config, clips))


def gates_flops(config: ModelConfig, clips: int) -> int:
    """One sample up to its last gate: of the last fusion layer only the gating function."""
    layers = config.fusion_layers
    gating = layers * _gating(config, clips)
    return 2 * (_inputs(config, clips) + gating + (layers - 1) * _rest_of_fusion_layer(config, clips))


def _projection(width: int, config: ModelConfig, rows: int) -> int:
    d = config.hidden_dim
    return rows * (width * d + (config.input_projections - 1) * d * d)


def _inputs(config: ModelConfig, clips: int) -> int:
    return sum(_projection(width, config, clips) for width in (config.video_width, config.audio_width))


def _text(config: ModelConfig, words: int) -> int:
    return _projection(config.text_width, config, words)


def _gating(config: ModelConfig, clips: int) -> int:
    rows = 1 if config.pooled else clips
    channels = config.hidden_dim if config.gating == "elementwise" else 1
    return rows * 2 * (2 * config.hidden_dim * config.gate_hidden + config.gate_hidden * channels)


def _rest_of_fusion_layer(config: ModelConfig, clips: int) -> int:
    d = config.hidden_dim
    audio = 2 * clips * d * d
    feedforwards = 2 * 2 * clips * d * config.fusion_feedforward
    attention = 4 * clips * d * d + 2 * clips * clips * d
    return audio + feedforwards + attention


def _transformer(config: ModelConfig, clips: int, words: int) -> int:
    d, feedforward = config.hidden_dim, config.feedforward
    read = 2 * clips * d * d + 2 * words * d * d + 2 * clips * words * d + 2 * clips * d * feedforward
    tokens = clips + 1
    encode = 4 * tokens * d * d + 2 * tokens * tokens * d + 2 * tokens * d * feedforward
    layers = config.decoder_layers
    decode = sum(_decoder_layer(config, clips, i == 0, i == layers - 1) for i in range(layers))
    return config.t2v_layers * read + config.encoder_layers * encode + decode


def _decoder_layer(config: ModelConfig, clips: int, first: bool, last: bool) -> int:
    d, queries = config.hidden_dim, config.queries
    square = d * d
    positions = 2 * square + (0 if first else 2 * square) + square + d
    own = 6 * square + 2 * queries * d
    cross = (3 + first) * square + 3 * clips * d
    moved = 0 if last else 2 * square + 2 * d
    feedforward = 2 * d * config.feedforward
    return queries * (positions + own + cross + moved + feedforward) + 3 * clips * square


def _heads(config: ModelConfig, clips: int) -> int:
    d = config.hidden_dim
    return config.queries * (2 * d + 2 * d * d + 2 * d) + (clips + 1) * d * d
