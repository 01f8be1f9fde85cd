"""The gating functions: from video and audio to the attention gate and the FFN gate of one layer.

One class per way of computing gates, which families of training code share; all take (video, audio, video
mask, audio mask) and return :class:`Gates`. Formulas are those of the reference; where it averages over
padding, exact batching averages over valid clips instead.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...runtime.gates.vocabulary import Activation, ActsAs
from .config import ModelConfig
from .layers import two_layers


class Gates(NamedTuple):
    """One layer's gates, (B, L | 1, 1 | d) each.

    ``shift`` is what FiLM adds to the scaled FFN branch; None where the family has none.
    """

    attention: Tensor
    ffn: Tensor
    shift: Tensor | None = None


class GatingFunction(nn.Module):
    """Two perceptrons over the joint features, bounded by tanh (the attention gate also by a sigmoid)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.hidden_dim
        self.per_clip, self.channels = not config.pooled, config.gate_channels
        self.mlp_mha = two_layers(2 * d, config.gate_hidden, self.channels)
        self.mlp_ffn = two_layers(2 * d, config.gate_hidden, self.channels)
        self.average_padding = config.batching == "reference"
        self.sigmoid = config.attention_activation == "sigmoid"

    def forward(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> Gates:
        """Gates from video and audio (B, L, d) and their masks (B, L)."""
        joint = torch.cat(self.pooled_streams(video, audio, video_mask, audio_mask), -1)
        return self.bound(*(perceptron(joint) for perceptron in self.perceptrons))

    @property
    def perceptrons(self) -> list[nn.Sequential]:
        """What reads the joint features, in the order in which :meth:`bound` takes their results."""
        return [self.mlp_mha, self.mlp_ffn]

    def bound(self, attention: Tensor, ffn: Tensor) -> Gates:
        """Gates from what the perceptrons gave, (B, L | 1, 1 | d) each."""
        return Gates(attention.sigmoid() if self.sigmoid else attention.tanh(), ffn.tanh())

    def pooled_streams(
        self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The two halves of the joint features, (B, L | 1, d) each."""
        if not self.per_clip:
            return self._pool(video, video_mask), self._pool(audio, audio_mask)
        return video, audio

    def _pool(self, x: Tensor, mask: Tensor) -> Tensor:
        """Mean over clips, (B, L, d) → (B, 1, d); over padding too in the reference's batching."""
        if self.average_padding:
            return x.mean(1, keepdim=True)
        weight = mask[..., None]
        return ((x * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)).to(x.dtype)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of each kind."""
        return {"attention": (0.0, 1.0) if self.sigmoid else (-1.0, 1.0), "ffn": (-1.0, 1.0)}

    @property
    def activations(self) -> dict[str, Activation]:
        """What bounds each kind."""
        return {"attention": "sigmoid" if self.sigmoid else "tanh", "ffn": "tanh"}

    @property
    def acts_as(self) -> dict[str, ActsAs]:
        """What multiplies the branch of each kind: the gate, or 1 plus the gate."""
        return {"attention": "g", "ffn": "g"}


class ScaledGatingFunction(GatingFunction):
    """The sigmoid family: a biased, tempered and scaled sigmoid for attention, a scaled tanh for the FFN."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.mha_bias = nn.Parameter(torch.empty(()))
        self.mha_scale = nn.Parameter(torch.empty(()))
        self.ffn_alpha = nn.Parameter(torch.empty(()))
        self.temperature = config.gate_temperature
        self.ffn_beta: Tensor | None = None
        self.mlp_ffn_beta: nn.Sequential | None = None
        if config.film:
            d = config.hidden_dim
            self.ffn_beta = nn.Parameter(torch.empty(()))
            self.mlp_ffn_beta = two_layers(2 * d, config.gate_hidden, self.channels)

    @property
    def perceptrons(self) -> list[nn.Sequential]:
        """What reads the joint features; with FiLM a third that makes the shift."""
        two = super().perceptrons
        return two if self.mlp_ffn_beta is None else [*two, self.mlp_ffn_beta]

    def bound(self, attention: Tensor, ffn: Tensor, shift: Tensor | None = None) -> Gates:
        """Gates, and FiLM's shift, from what the perceptrons gave, (B, L | 1, 1 | d) each."""
        attention = ((attention + self.mha_bias) / self.temperature).sigmoid() * self.mha_scale
        ffn = ffn.tanh() * self.ffn_alpha
        if shift is None or self.ffn_beta is None:
            return Gates(attention, ffn)
        return Gates(attention, ffn, shift.tanh() * self.ffn_beta)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of each kind, from this layer's own scales."""
        scale, alpha = float(self.mha_scale), abs(float(self.ffn_alpha))
        return {"attention": (min(0.0, scale), max(0.0, scale)), "ffn": (-alpha, alpha)}

    @property
    def activations(self) -> dict[str, Activation]:
        """What bounds each kind."""
        return {"attention": "sigmoid", "ffn": "tanh"}

    @property
    def acts_as(self) -> dict[str, ActsAs]:
        """FiLM keeps the whole FFN branch and adds what the gate scales: (1 + g) multiplies it."""
        return {"attention": "g", "ffn": "g" if self.mlp_ffn_beta is None else "1+g"}
