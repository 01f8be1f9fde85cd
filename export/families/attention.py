"""Multi-head attention, written out so that it exports to plain products and one softmax."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor) -> Tensor:
    """Softmax attention over ``heads`` equal slices of the channels, without projections.

    ``query`` (B, Q, D), ``key`` (B, S, D), ``value`` (B, S, E); ``mask`` broadcasts to (B, heads, Q, S): a
    boolean one says which keys a query may see, a float one is added to the scores. Every query must see at
    least one key: a row with none is undefined, and PyTorch and ONNX Runtime define it differently. Returns
    (B, Q, E). Scale: (D / heads)^-0.5.
    """
    q = query.unflatten(-1, (heads, -1)).transpose(1, 2)
    k = key.unflatten(-1, (heads, -1)).transpose(1, 2)
    v = value.unflatten(-1, (heads, -1)).transpose(1, 2)
    scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-2, -1)
    return (weigh(scores, mask) @ v).transpose(1, 2).flatten(-2)


def weigh(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax weights of scores (…, S) under a mask that broadcasts to them, of either kind that
    :func:`attend` takes; same shape, sums of 1."""
    scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)


class MultiheadAttention(nn.Module):
    """Attention with one stacked input projection, under the parameter names of ``nn.MultiheadAttention``."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * dim))
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """(B, Q, d), (B, S, d), (B, S, d), mask broadcasting to (B, heads, Q, S) → (B, Q, d)."""
        weights = self.in_proj_weight.chunk(3)
        biases = self.in_proj_bias.chunk(3)
        q, k, v = (
            nn.functional.linear(x, w, b)
            for x, w, b in zip((query, key, value), weights, biases, strict=True)
        )
        return self.out_proj(attend(q, k, v, self.heads, mask))

    def of_one(self, key: Tensor) -> Tensor:
        """What every query reads where ``key`` (…, d) is all there is: its weight is 1. Same shape."""
        weight, bias = self.in_proj_weight.chunk(3)[2], self.in_proj_bias.chunk(3)[2]
        return self.out_proj(nn.functional.linear(key, weight, bias))


def add_mask(mask: Tensor) -> Tensor:
    """Mask of valid keys (B, S) → float (B, 1, 1, S), added to the scores: 1 at valid keys, 0 at padding."""
    return mask[:, None, None, :]


def allow_keys(mask: Tensor) -> Tensor:
    """Mask of valid keys (B, S), 1 = valid → boolean (B, 1, 1, S): every query sees the valid keys."""
    return (mask > 0)[:, None, None, :]
