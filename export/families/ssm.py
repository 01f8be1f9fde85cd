"""The diagonal-strip SSM gate: how a stream resembles itself at short distances opens a global gate.

For audio and for video (one shared encoder) rows are normalised, the band of their self-similarity matrix
around the diagonal is read as channels over time, encoded by convolutions and averaged. Only the band is
computed here; the reference forms the whole matrix and cuts the band out of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...runtime.gates.vocabulary import Activation, ActsAs
from .config import ModelConfig, SsmConfig
from .gating import Gates
from .layers import two_layers

EPS = 1e-6


class StripEncoder(nn.Module):
    """Convolutions over time: 1×1, then per dilation a width-3 and a 1×1 convolution, each with ReLU."""

    def __init__(self, ssm: SsmConfig, mask_padding: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv1d(2 * ssm.band_width + 1, ssm.channels, 1), nn.ReLU()]
        for dilation in ssm.dilations:
            wide = nn.Conv1d(ssm.channels, ssm.channels, 3, padding=dilation, dilation=dilation)
            # The checkpoint has dropout after the first ReLU of a block; inference has none.
            layers += [wide, nn.ReLU(), nn.Identity(), nn.Conv1d(ssm.channels, ssm.channels, 1), nn.ReLU()]
        self.net = nn.Sequential(*layers)
        self.mask_padding = mask_padding

    def forward(self, strip: Tensor, mask: Tensor) -> Tensor:
        """Strip (B, 2w + 1, L) and mask (B, L) → mean code over valid time (B, C)."""
        valid = mask[:, None]
        for layer in self.net:
            # Alone, a sample's convolutions see zeros beyond its end; in a batch, codes of padding.
            if self.mask_padding and isinstance(layer, nn.Conv1d):
                strip = strip * valid
            strip = layer(strip)
        return (strip * valid).sum(-1) / (valid.sum(-1) + EPS)


class SsmGate(nn.Module):
    """The parameters under ``ssm_gate``."""

    def __init__(self, config: ModelConfig, ssm: SsmConfig) -> None:
        super().__init__()
        codes = ssm.channels * (2 if ssm.video_branch else 1)
        self.ssm = ssm
        self.encoder = StripEncoder(ssm, mask_padding=config.batching == "exact")
        self.norm = nn.LayerNorm(codes)
        self.mlp_mha = two_layers(codes, ssm.gate_hidden, 1)
        self.mlp_ffn = two_layers(codes, ssm.gate_hidden, 1)

    def forward(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> Gates:
        """Gates (B, 1, 1) from video and audio (B, L, d) and their masks (B, L)."""
        codes = self._code(audio, audio_mask)
        if self.ssm.video_branch:
            codes = torch.cat((codes, self._code(video, video_mask)), -1)
        codes = self.norm(codes)[:, None]
        return Gates(self.mlp_mha(codes).sigmoid(), self.mlp_ffn(codes).tanh())

    def _code(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.encoder(self._strip(x, mask), mask)

    def _strip(self, x: Tensor, mask: Tensor) -> Tensor:
        """The band of the similarity matrix: entry (k, t) is S[t, t + |k|], 0 at and beyond the padding."""
        x = x * mask[..., None]
        x = x / (x.norm(dim=-1, keepdim=True) + EPS)
        width, length = self.ssm.band_width, x.shape[1]
        later, later_mask = F.pad(x, (0, 0, 0, width)), F.pad(mask, (0, width))
        diagonals: list[Tensor] = []
        for offset in range(width + 1):
            similarity = (x * later[:, offset : offset + length]).sum(-1)
            if offset == 0:
                similarity = similarity - self.ssm.diag_subtract
            both = mask * later_mask[:, offset : offset + length]
            diagonals.append((similarity + 1) / 2 * both)
        return torch.stack(diagonals[:0:-1] + diagonals, 1)


class SsmGatingFunction(nn.Module):
    """``gating_function`` of the SSM family: its parameters lie one level deeper."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.ssm is not None
        self.ssm_gate = SsmGate(config, config.ssm)
        self.per_clip, self.channels = False, 1

    def forward(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> Gates:
        """Gates (B, 1, 1) from video and audio (B, L, d) and their masks (B, L)."""
        return self.ssm_gate(video, audio, video_mask, audio_mask)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of each kind."""
        return {"attention": (0.0, 1.0), "ffn": (-1.0, 1.0)}

    @property
    def activations(self) -> dict[str, Activation]:
        """What bounds each kind."""
        return {"attention": "sigmoid", "ffn": "tanh"}

    @property
    def acts_as(self) -> dict[str, ActsAs]:
        """What multiplies the branch of each kind: the gate itself."""
        return {"attention": "g", "ffn": "g"}
