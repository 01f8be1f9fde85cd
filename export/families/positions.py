"""Position codes: sine codes of clips and of reference points, learned positions of words."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

TEMPERATURE = 10_000.0


def _frequencies(channels: int, device: torch.device) -> Tensor:
    """f_i = 10000^(2·floor(i/2) / channels), one per channel."""
    i = torch.arange(channels, dtype=torch.float32, device=device)
    return TEMPERATURE ** (2 * torch.div(i, 2, rounding_mode="floor") / channels)


def _interleave(angles: Tensor) -> Tensor:
    """Sine of the even channels and cosine of the odd ones: (…, c) → (…, c)."""
    return torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), -1).flatten(-2)


def clip_positions(mask: Tensor, channels: int) -> Tensor:
    """Sine code, in float32, of each clip's place among the valid ones: (B, L) → (B, L, channels)."""
    place = mask.float().cumsum(1)
    place = place / (place[:, -1:] + 1e-6) * (2 * math.pi)
    return _interleave(place[..., None] / _frequencies(channels, mask.device))


def point_positions(points: Tensor) -> Tensor:
    """Sine code of (centre, width) in [0, 1]: (B, Q, 2) → (B, Q, 256), 128 channels each."""
    angles = points.float()[..., None] * (2 * math.pi) / _frequencies(128, points.device)
    return _interleave(angles).flatten(-2).to(points.dtype)


class WordPositions(nn.Module):
    """Learned positions of words (``use_txt_pos``): LN(words + table[0…T])."""

    def __init__(self, max_words: int, dim: int) -> None:
        super().__init__()
        self.position_embeddings = nn.Embedding(max_words, dim)
        self.LayerNorm = nn.LayerNorm(dim)

    def forward(self, words: Tensor) -> Tensor:
        """(B, T, d) → (B, T, d); T up to the table's length."""
        # Looked up, not sliced: a slice would bound the axis of words when the graph is captured.
        places = torch.arange(words.shape[1], device=words.device)
        return self.LayerNorm(words + self.position_embeddings(places))
