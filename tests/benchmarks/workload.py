"""The model and the batches that everything is measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gatescope.export import Choices, load_checkpoint
from gatescope.export.families.config import ModelConfig
from gatescope.export.families.qd_detr import GatedQDDETR
from gatescope.export.reading.facts import describe
from gatescope.export.reading.rebuild import rebuild
from tests.export import small
from tests.golden.case import load_case

Batch = dict[str, np.ndarray]

# Two fusion layers: with one, nothing up to the last gate would need the video's mask.
SMALL = {"fusion_layers": 2, "decoder_layers": 2}


def write_checkpoint(path: Path, gating: str, *, full_size: bool) -> Path:
    """A golden checkpoint of real size, or a small one."""
    if full_size:
        return load_case(gating).save_checkpoint(path)
    weights = small.weights(gating=gating, **SMALL)
    return small.save(path, weights, gating_type=gating, fusion_layers=2, dec_layers=2)


def read_model(checkpoint: Path) -> GatedQDDETR:
    """The clean model, on the CPU, in eval mode and without gradients."""
    read = load_checkpoint(checkpoint)
    return rebuild(describe(read, Choices()), read.weights)


def make_batch(config: ModelConfig, samples: int, clips: int, words: int) -> Batch:
    """Samples of full length: rows of unit length, every mask 1."""
    rng = np.random.default_rng(0)
    batch: Batch = {}
    for name, length, width in (
        ("src_txt", words, config.text_width),
        ("src_vid", clips, config.video_width),
        ("src_aud", clips, config.audio_width),
    ):
        rows = rng.standard_normal((samples, length, width), dtype=np.float32)
        batch[name] = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
        batch[f"{name}_mask"] = np.ones((samples, length), np.float32)
    return batch


def as_tensors(batch: Batch) -> dict[str, torch.Tensor]:
    """The same memory."""
    return {name: torch.from_numpy(array) for name, array in batch.items()}
