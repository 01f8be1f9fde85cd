"""A small checkpoint of the real layout, for tests that look at reading and not at numbers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from gatescope.export.families.config import ModelConfig
from gatescope.export.families.qd_detr import GatedQDDETR

OPTIONS: dict[str, Any] = {
    "dset_name": "hl",
    "hidden_dim": 256,
    "nheads": 8,
    "fusion_n_heads": 4,
    "fusion_layers": 1,
    "enc_layers": 1,
    "dec_layers": 1,
    "dim_feedforward": 16,
    "n_input_proj": 1,
    "num_queries": 3,
    "t_feat_dim": 6,
    "v_feat_dim": 12,
    "a_feat_dim": 9,
    "span_loss_type": "l1",
    "gating_type": "clipwise",
    "ctx_mode": "video_tef",
    "v_feat_dirs": ["../features/slow_features", "../features/other_features/"],
    "a_feat_dir": "../features/pann_features",
    "t_feat_dir": "../features/text_features",
    "clip_length": 2,
    "max_v_l": 20,
    "max_q_l": 8,
    "eval_bsz": 5,
    "use_txt_pos": False,
}


def config(**changes: Any) -> ModelConfig:
    sizes: dict[str, Any] = {
        "gating": "clipwise",
        "attention_activation": "tanh",
        "batching": "exact",
        "video_width": 12,
        "audio_width": 9,
        "text_width": 6,
        "hidden_dim": 256,
        "input_projections": 1,
        "fusion_layers": 1,
        "fusion_heads": 4,
        "fusion_feedforward": 16,
        "gate_hidden": 4,
        "encoder_layers": 1,
        "t2v_layers": 1,
        "decoder_layers": 1,
        "heads": 8,
        "feedforward": 16,
        "queries": 3,
        "text_positions": False,
        "max_words": 8,
    }
    return ModelConfig(**sizes | changes)


def weights(seed: int = 0, **changes: Any) -> dict[str, torch.Tensor]:
    """Every parameter of a small model, drawn with ``seed``; the word table is there as training saves it."""
    with torch.device("meta"):  # only names and shapes are needed
        model = GatedQDDETR(config(**{"text_positions": True} | changes))
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(value.shape, generator=generator) * 0.1
        for name, value in model.state_dict().items()
    }


def save(path: Path, state: dict[str, torch.Tensor] | None = None, **options: Any) -> Path:
    """Write a checkpoint as training does; an option given as ``...`` is left out."""
    merged = {key: value for key, value in (OPTIONS | options).items() if value is not ...}
    torch.save(
        {
            "model": weights() if state is None else state,
            "optimizer": {"state": {}, "param_groups": []},
            "lr_scheduler": {"last_epoch": 1},
            "epoch": 1,
            "opt": argparse.Namespace(**merged, device=torch.device("cpu")),
        },
        path,
    )
    return path
