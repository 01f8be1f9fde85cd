"""The counted arithmetic is what PyTorch counts."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gatescope.export.families.fusion import Fused
from gatescope.export.families.qd_detr import GatedQDDETR
from tests.export import small

from .flops import gates_flops, tracked_flops
from .workload import make_batch

CLIPS, WORDS = 11, 5
SIZES = {"fusion_layers": 3, "encoder_layers": 2, "decoder_layers": 3, "input_projections": 2}


def counted(gating: str, *, up_to_the_gates: bool) -> int:
    """By PyTorch, for one sample, on tensors without values."""
    config = small.config(gating=gating, **SIZES)
    with torch.device("meta"):
        model = GatedQDDETR(config).eval()
    batch = make_batch(config, 1, CLIPS, WORDS)
    inputs = {name: torch.empty(array.shape, device="meta") for name, array in batch.items()}
    counter = FlopCounterMode(display=False)
    if not up_to_the_gates:
        with counter:
            model(**inputs)
        return counter.get_total_flops()
    last = model.fusion.fusion_layers[-1]

    def gates_alone(video, audio, normed, video_mask, audio_mask, override, *_):
        gates = last.gating_function(video, audio, video_mask, audio_mask)
        return Fused(video, (gates.attention, gates.ffn), (video[..., 0], video[..., 0]))

    last.forward = gates_alone
    del inputs["src_txt"], inputs["src_txt_mask"]
    with counter:
        model.fuse(**inputs)
    return counter.get_total_flops()


@pytest.mark.parametrize("gating", ["global", "clipwise", "elementwise"])
def test_flops_are_those_pytorch_counts(gating: str) -> None:
    config = small.config(gating=gating, **SIZES)
    assert tracked_flops(config, CLIPS, WORDS) == counted(gating, up_to_the_gates=False)
    assert gates_flops(config, CLIPS) == counted(gating, up_to_the_gates=True)
