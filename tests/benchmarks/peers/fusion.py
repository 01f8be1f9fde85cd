"""The fusion in eager PyTorch, computing what it needs and nothing beside it.

The model of gatescope also computes how far each gated branch moves the stream. An exporter or a compiler
drops that where nobody asks; eager PyTorch would pay for it, and so look slower than it is.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gatescope.export.families.fusion import Fusion, FusionLayer

# (layer, its normed stream (B, L, d), mask (B, L)) → (B, L, d)
SelfAttention = Callable[[FusionLayer, Tensor, Tensor], Tensor]


def fuse(
    fusion: Fusion,
    video: Tensor,
    audio: Tensor,
    video_mask: Tensor,
    audio_mask: Tensor,
    self_attention: SelfAttention,
) -> Tensor:
    """Projected video and audio (B, L, d), masks (B, L) → fused video (B, L, d), of the tanh family."""
    for layer in fusion.fusion_layers:
        gates = layer.gating_function(video, audio, video_mask, audio_mask)
        x = video + gates.attention * layer.out_proj(layer.a_proj(layer.norm1(audio)))
        x = x + gates.ffn * layer.ffn1(layer.norm2(x))
        x = x + self_attention(layer, layer.norm3(x), video_mask)
        video = x + layer.ffn2(layer.norm4(x))
    return video
