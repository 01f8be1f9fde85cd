"""``few_queries``: the decoder's few queries are projected to the clips' space, not the clips to theirs.

Rules, per head with content query q, position query s, clip c and its position p: (1) q·(W_k c + b) +
s·(W_p p + b') = (W_kᵀq)·c + (W_pᵀs)·p + a term that is the same for all clips, which softmax does not see;
(2) Σ w·(W_v c + b) = W_v(Σ w·c) + b, since the weights w sum to 1. With 10 queries and 75 clips three
products of d² a clip and layer become products of the few queries: 1 % of a tracked sample a layer. Pays
while queries × heads is not far above the number of clips.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from ..families.attention import weigh
from ..families.decoder import DecoderLayer
from ..families.qd_detr import GatedQDDETR


class ClipReading(nn.Module):
    """A decoder layer's attention to the clips, in the clips' own space."""

    def __init__(self, layer: DecoderLayer) -> None:
        super().__init__()
        self.heads = layer.heads
        self.keys = _by_head(layer.ca_kcontent_proj, self.heads)
        self.position_keys = _by_head(layer.ca_kpos_proj, self.heads)
        self.values = nn.Parameter(_by_head(layer.ca_v_proj, self.heads).transpose(1, 2), False)
        self.value_bias = layer.ca_v_proj.bias
        # The first layer's keys hold the positions in both halves.
        self.positions_in_keys = layer.ca_qpos_proj is not None
        # Content and position halves lie next to each other: 2·d / heads channels per head.
        self.scale = 1 / math.sqrt(2 * layer.ca_kcontent_proj.out_features / self.heads)

    def forward(
        self, asked: Tensor, asked_pos: Tensor, memory: Tensor, pos: Tensor, allowed: Tensor
    ) -> Tensor:
        """Queries (B, Q, d), clips and their positions (B, L, d) → what the queries read, (B, Q, d)."""
        content = self._split(asked * self.scale)
        position = self._split(asked_pos * self.scale)
        if self.positions_in_keys:
            position = position + content
        sought = torch.cat((content @ self.keys, position @ self.position_keys), -1).flatten(1, 2)
        scores = sought @ torch.cat((memory, pos), -1).transpose(1, 2)
        # Heads and queries stay one axis: every query sees the same clips. Parting and joining them again
        # would have PyTorch 2.11 fix the number of clips when the graph is captured.
        read = (weigh(scores, allowed[:, 0]) @ memory).unflatten(1, (self.heads, -1))
        return (read @ self.values).transpose(1, 2).flatten(-2) + self.value_bias

    def _split(self, query: Tensor) -> Tensor:
        """(B, Q, d) → (B, heads, Q, d / heads)."""
        return query.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def project_queries_not_clips(model: GatedQDDETR) -> bool:
    """Give every decoder layer this way of reading the clips."""
    for layer in model.transformer.decoder.layers:
        layer = cast(DecoderLayer, layer)
        layer.clip_reading = ClipReading(layer)
        del layer.ca_kcontent_proj, layer.ca_kpos_proj, layer.ca_v_proj
    return True


def _by_head(projection: nn.Linear, heads: int) -> nn.Parameter:
    """The weight (d, d) as (heads, d / heads, d)."""
    return nn.Parameter(projection.weight.unflatten(0, (heads, -1)), False)
