"""The gated audio-video fusion, which returns its gates.

Follows ``AVIGATEFusionCustom`` of the reference. The differences: gates leave the fusion as outputs beside
the fused video; a global gate averages over valid clips only, unless the reference's batching is asked for.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attention import MultiheadAttention, allow_keys
from .config import ModelConfig
from .layers import two_layers


class GatingFunction(nn.Module):
    """Two perceptrons over the joint features: the attention gate and the FFN gate of one layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.hidden_dim
        channels = d if config.gating == "elementwise" else 1
        self.mlp_mha = two_layers(2 * d, config.gate_hidden, channels)
        self.mlp_ffn = two_layers(2 * d, config.gate_hidden, channels)
        self.pooled = config.gating == "global"
        self.average_padding = config.batching == "reference"
        self.sigmoid = config.attention_activation == "sigmoid"

    def forward(
        self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gates (B, L | 1, 1 | d) from video and audio (B, L, d) and their masks (B, L)."""
        if self.pooled:
            video, audio = self._pool(video, video_mask), self._pool(audio, audio_mask)
        joint = torch.cat((video, audio), -1)
        attention: Tensor = self.mlp_mha(joint)
        attention = attention.sigmoid() if self.sigmoid else attention.tanh()
        return attention, self.mlp_ffn(joint).tanh()

    def _pool(self, x: Tensor, mask: Tensor) -> Tensor:
        """Mean over clips, (B, L, d) → (B, 1, d); over padding too in the reference's batching."""
        if self.average_padding:
            return x.mean(1, keepdim=True)
        weight = mask[..., None]
        return (x * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)


class FusionLayer(nn.Module):
    """One layer: gated audio, gated FFN, self-attention over clips, FFN; all pre-norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, hidden = config.hidden_dim, config.fusion_feedforward
        self.gating_function = GatingFunction(config)
        self.a_proj = nn.Linear(d, d)
        self.out_proj = nn.Linear(d, d)
        self.ffn1 = two_layers(d, hidden, d)
        self.self_attention = MultiheadAttention(d, config.fusion_heads)
        self.ffn2 = two_layers(d, hidden, d)
        self.norm1 = nn.LayerNorm(d)
        self.norm2 = nn.LayerNorm(d)
        self.norm3 = nn.LayerNorm(d)
        self.norm4 = nn.LayerNorm(d)

    def forward(
        self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Fused video (B, L, d), attention gate and FFN gate (B, L | 1, 1 | d)."""
        attention_gate, ffn_gate = self.gating_function(video, audio, video_mask, audio_mask)
        # With an identity score matrix the audio "attention" is these two projections alone.
        heard = self.out_proj(self.a_proj(self.norm1(audio)))
        x = video + attention_gate * heard
        x = x + ffn_gate * self.ffn1(self.norm2(x))
        normed = self.norm3(x)
        x = x + self.self_attention(normed, normed, normed, allow_keys(video_mask))
        x = x + self.ffn2(self.norm4(x))
        return x, attention_gate, ffn_gate


class Fusion(nn.Module):
    """All fusion layers; the audio is the same for every layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.fusion_layers = nn.ModuleList(FusionLayer(config) for _ in range(config.fusion_layers))

    def forward(
        self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Fused video (B, L, d) and the gates of all layers, each (B, layer, L | 1, 1 | d)."""
        attention_gates: list[Tensor] = []
        ffn_gates: list[Tensor] = []
        for layer in self.fusion_layers:
            video, attention_gate, ffn_gate = layer(video, audio, video_mask, audio_mask)
            attention_gates.append(attention_gate)
            ffn_gates.append(ffn_gate)
        return video, torch.stack(attention_gates, 1), torch.stack(ffn_gates, 1)
