"""``gate_perceptrons``: the gate perceptrons of a layer as one, split into a video half and an audio half.

Rules: (1) ``mlp_mha.0``, ``mlp_ffn.0`` (and FiLM's ``mlp_ffn_beta.0``) read the same joint features: their
rows together are one matrix; (2) W·[v; a] = W_v·v + W_a·a, so nothing has to be joined, and the audio half
waits for no earlier layer; (3) where each gate is one number, the second layers are the rows of one matrix
that is zero where a gate does not read a hidden unit. Elementwise gates keep their second layers apart: there
those zeros would double the arithmetic. Saves no products of the first layers; it saves the joint tensor
(2·d per clip and layer) and half of the nodes.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ..families.fusion import FusionLayer
from ..families.gating import Gates, GatingFunction, ScaledGatingFunction
from ..families.qd_detr import GatedQDDETR
from .folding import linear


class SplitGating(nn.Module):
    """A :class:`GatingFunction` whose perceptrons are merged and split by what they read."""

    def __init__(self, original: GatingFunction) -> None:
        super().__init__()
        # What its gates look like is what they looked like before anything of it was taken away.
        self.per_clip, self.channels = original.per_clip, original.channels
        self.ranges, self.activations, self.acts_as = original.ranges, original.activations, original.acts_as
        perceptrons = original.perceptrons
        first = [cast(nn.Linear, perceptron[0]) for perceptron in perceptrons]
        second = [cast(nn.Linear, perceptron[2]) for perceptron in perceptrons]
        like = first[0].weight
        weight = torch.cat([layer.weight for layer in first])
        bias = torch.cat([layer.bias for layer in first])
        video, audio = weight.chunk(2, 1)
        self.video = linear(video, bias, like)
        self.audio = linear(audio, None, like)
        self.hidden = [len(layer.weight) for layer in first]
        self.one_number = all(len(layer.weight) == 1 for layer in second)
        if self.one_number:
            rows = torch.block_diag(*(layer.weight for layer in second))
            self.second = nn.ModuleList([linear(rows, torch.cat([layer.bias for layer in second]), like)])
        else:
            self.second = nn.ModuleList(second)
        # Pooling and bounds are the original's; its perceptrons are not needed any more.
        self.original = original
        del original.mlp_mha, original.mlp_ffn
        if isinstance(original, ScaledGatingFunction):
            original.mlp_ffn_beta = None

    def forward(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> Gates:
        """Gates from video and audio (B, L, d) and their masks (B, L)."""
        video, audio = self.original.pooled_streams(video, audio, video_mask, audio_mask)
        hidden = (self.video(video) + self.audio(audio)).relu()
        if self.one_number:
            return self.original.bound(*self.second[0](hidden).split(1, -1))
        parts = hidden.split(self.hidden, -1)
        return self.original.bound(*(layer(part) for layer, part in zip(self.second, parts, strict=True)))


def split_gate_perceptrons(model: GatedQDDETR) -> bool:
    """Replace every gating function that is made of perceptrons over the joint features."""
    changed = False
    for layer in model.fusion.fusion_layers:
        if isinstance(layer, FusionLayer) and isinstance(layer.gating_function, GatingFunction):
            layer.gating_function = SplitGating(layer.gating_function)
            changed = True
    return changed
