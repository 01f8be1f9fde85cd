"""The decoder: moment queries with reference points (centre, width) that move from layer to layer.

Follows the DAB-DETR decoder of QD-DETR. The difference: only what the last layer's outputs need is computed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attention import allow_keys, attend
from .config import ModelConfig
from .layers import Perceptron
from .positions import point_positions

SIGMOID_EPS = 1e-3


def inverse_sigmoid(x: Tensor) -> Tensor:
    """log(x / (1 - x)) of values in [0, 1], both sides clamped at 1e-3 from below."""
    return torch.log(x.clamp(min=SIGMOID_EPS) / (1 - x).clamp(min=SIGMOID_EPS))


class OutputProjection(nn.Module):
    """An attention's output projection alone; its inputs are projected by the layer around it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Q, d) → (B, Q, d)."""
        return self.out_proj(x)


class DecoderLayer(nn.Module):
    """Self-attention of the queries, cross-attention to the clips, FFN; post-norm."""

    def __init__(self, config: ModelConfig, first: bool) -> None:
        super().__init__()
        d = config.hidden_dim
        self.heads = config.heads
        self.sa_qcontent_proj = nn.Linear(d, d)
        self.sa_qpos_proj = nn.Linear(d, d)
        self.sa_kcontent_proj = nn.Linear(d, d)
        self.sa_kpos_proj = nn.Linear(d, d)
        self.sa_v_proj = nn.Linear(d, d)
        self.self_attn = OutputProjection(d)
        self.norm1 = nn.LayerNorm(d)
        self.ca_qcontent_proj = nn.Linear(d, d)
        # Only the first layer adds the queries' positions to their content.
        self.ca_qpos_proj = nn.Linear(d, d) if first else None
        self.ca_kcontent_proj = nn.Linear(d, d)
        self.ca_kpos_proj = nn.Linear(d, d)
        self.ca_v_proj = nn.Linear(d, d)
        self.ca_qpos_sine_proj = nn.Linear(d, d)
        self.cross_attn = OutputProjection(d)
        self.norm2 = nn.LayerNorm(d)
        self.linear1 = nn.Linear(d, config.feedforward)
        self.linear2 = nn.Linear(config.feedforward, d)
        self.activation = nn.PReLU()
        self.norm3 = nn.LayerNorm(d)
        # Set by a rewrite: another way to the same reading of the clips.
        self.clip_reading: nn.Module | None = None

    def forward(
        self, content: Tensor, query_pos: Tensor, sine: Tensor, memory: Tensor, pos: Tensor, allowed: Tensor
    ) -> Tensor:
        """Content, its positions and sine codes (B, Q, d); memory and positions (B, L, d) → content."""
        content = self.attend_queries(content, query_pos)
        return self.read_clips(content, *self.clip_queries(content, query_pos, sine), memory, pos, allowed)

    def attend_queries(self, content: Tensor, query_pos: Tensor) -> Tensor:
        """Self-attention of the queries and its norm: (B, Q, d) twice → (B, Q, d)."""
        q = self.sa_qcontent_proj(content) + self.sa_qpos_proj(query_pos)
        k = self.sa_kcontent_proj(content) + self.sa_kpos_proj(query_pos)
        everything = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=content.device)
        read = self.self_attn(attend(q, k, self.sa_v_proj(content), self.heads, everything))
        return self.norm1(content + read)

    def clip_queries(self, content: Tensor, query_pos: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
        """What is asked of the clips' content and of their positions, (B, Q, d) each."""
        asked = self.ca_qcontent_proj(content)
        if self.ca_qpos_proj is not None:
            asked = asked + self.ca_qpos_proj(query_pos)
        return asked, self.ca_qpos_sine_proj(sine)

    def read_clips(
        self, content: Tensor, asked: Tensor, asked_pos: Tensor, memory: Tensor, pos: Tensor, allowed: Tensor
    ) -> Tensor:
        """Cross-attention, FFN and their norms: the layer's content from what its queries ask."""
        reading = self._attend_clips if self.clip_reading is None else self.clip_reading
        content = self.norm2(content + self.cross_attn(reading(asked, asked_pos, memory, pos, allowed)))
        return self.norm3(content + self.linear2(self.activation(self.linear1(content))))

    def _attend_clips(
        self, asked: Tensor, asked_pos: Tensor, memory: Tensor, pos: Tensor, allowed: Tensor
    ) -> Tensor:
        k, k_pos = self.ca_kcontent_proj(memory), self.ca_kpos_proj(pos)
        if self.ca_qpos_proj is not None:
            k = k + k_pos
        q, k = self._side_by_side(asked, asked_pos), self._side_by_side(k, k_pos)
        return attend(q, k, self.ca_v_proj(memory), self.heads, allowed)

    def _side_by_side(self, content: Tensor, position: Tensor) -> Tensor:
        """Each head's position channels after its content channels: two (B, N, d) → (B, N, 2d)."""
        halves = (content.unflatten(-1, (self.heads, -1)), position.unflatten(-1, (self.heads, -1)))
        return torch.cat(halves, -1).flatten(-2)


class Decoder(nn.Module):
    """``transformer.decoder``: ``decoder_layers`` layers and the heads that move the reference points."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.hidden_dim
        self.layers = nn.ModuleList(DecoderLayer(config, first=i == 0) for i in range(config.decoder_layers))
        self.norm = nn.LayerNorm(d)
        self.query_scale = Perceptron(d, d, d)
        self.ref_point_head = Perceptron(d, d, d)
        self.bbox_embed = Perceptron(d, d, d, 2)
        self.ref_anchor_head = Perceptron(d, d, 1)

    def forward(self, points: Tensor, memory: Tensor, pos: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Decode the moments.

        ``points`` (B, Q, 2) in (0, 1); ``memory`` and ``pos`` (B, L, d); ``mask`` (B, L), 1 = valid. Returns
        the normalised content of the last layer (B, Q, d) and the reference points that entered it (B, Q, 2).
        """
        allowed = allow_keys(mask)
        content = torch.zeros_like(points[..., :1]) * memory.new_zeros(memory.shape[-1])
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            query_pos, sine = self.ask(i, content, points)
            content = layer(content, query_pos, sine, memory, pos, allowed)
            if i < last:
                points = (self.bbox_embed(content) + inverse_sigmoid(points)).sigmoid()
        return self.norm(content), points

    def ask(self, layer: int, content: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """The queries' positions and sine codes (B, Q, d) that enter ``layer``; ``points`` (B, Q, 2)."""
        sine = point_positions(points)
        query_pos = self.ref_point_head(sine)
        if layer > 0:
            sine = sine * self.query_scale(content)
        return query_pos, sine * (self.ref_anchor_head(content).sigmoid() / points[..., 1:])
