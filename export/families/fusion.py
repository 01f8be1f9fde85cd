"""The gated audio-video fusion, which returns its gates.

Follows ``AVIGATEFusionCustom`` and its relatives in the reference. The differences: gates leave the fusion
as outputs next to the fused video; they can be overridden; and how far each gated branch moves the stream can
be computed as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from ...runtime.gates.shape import GateShape, LayerGate
from ...runtime.gates.vocabulary import GATE_KINDS
from .attention import MultiheadAttention, add_mask, allow_keys
from .config import ModelConfig
from .family import FAMILIES
from .gating import Gates, GatingFunction
from .layers import two_layers

# By kind, (scale, offset) with axes (batch | 1, layer, clip | 1, channel | 1): g' = scale · g + offset.
GateReplacements = Mapping[str, tuple[Tensor, Tensor]]

# Keeps a contribution finite where the stream itself is zero.
TINY = 1e-12


class Fused(NamedTuple):
    """What a layer, or the whole fusion, returns.

    - ``video`` (B, L, d): the fused stream.
    - ``gates``: attention and FFN, (B, L | 1, 1 | d) of a layer, (B, layer, L | 1, 1 | d) of the fusion.
    - ``contributions``: ‖m·branch‖ / ‖stream it is added to‖ per clip, (B, L) or (B, layer, L), ≥ 0; m is
      what the gate multiplies by, g, or 1 + g with FiLM, whose shift is not part of the branch.
    """

    video: Tensor
    gates: tuple[Tensor, Tensor]
    contributions: tuple[Tensor, Tensor]


class FusionLayer(nn.Module):
    """One layer: gated audio, gated FFN, self-attention over clips, FFN; all pre-norm.

    Behind the words (``words_first``) the self-attention has other keys: the global token and, in the
    reference, a sample's padding, because its mask has the wrong sense. Alone a sample hears the token only.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, hidden = config.hidden_dim, config.fusion_feedforward
        family = FAMILIES[config.family]
        self.gating_function = family.gating_function(config)
        if family.attends_audio:
            self.cross_attention = MultiheadAttention(d, config.fusion_heads)
        else:
            self.a_proj = nn.Linear(d, d)
            self.out_proj = nn.Linear(d, d)
        self.ffn1 = two_layers(d, hidden, d)
        self.self_attention = MultiheadAttention(d, config.fusion_heads)
        self.ffn2 = two_layers(d, hidden, d)
        self.norm1 = nn.LayerNorm(d)
        self.norm2 = nn.LayerNorm(d)
        self.norm3 = nn.LayerNorm(d)
        self.norm4 = nn.LayerNorm(d)
        if family.norms_branches:
            self.delta_norm_mha = nn.LayerNorm(d)
            self.delta_norm_ffn = nn.LayerNorm(d)
        # Set by a rewrite: the two projections of the audio and the affine part of norm1, as one product.
        self.audio_projection: nn.Module | None = None
        self.attends_audio, self.norms_branches = family.attends_audio, family.norms_branches
        # In the reference such a family adds its masks to the scores.
        self.added_masks = family.attends_audio and config.batching == "reference"
        self.hears_padding = config.batching == "reference"

    def forward(
        self,
        video: Tensor,
        audio: Tensor,
        normed_audio: Tensor,
        video_mask: Tensor,
        audio_mask: Tensor,
        override: Mapping[str, tuple[Tensor, Tensor]],
        token: Tensor | None,
    ) -> Fused:
        """Fuse video and audio (B, L, d); ``override`` holds (batch | 1, clip | 1, channel | 1) per kind.

        ``normed_audio`` (B, L, d) is the audio as ``Fusion.audio_norm`` leaves it, the same for all layers.
        ``token`` (d,): the global token, where the fusion stands behind the words.
        """
        gates: Gates = self.gating_function(video, audio, video_mask, audio_mask)
        attention_gate = _overridden(gates.attention, override.get("attention"))
        ffn_gate = _overridden(gates.ffn, override.get("ffn"))
        moved = attention_gate * self._hear(video, normed_audio, audio_mask)
        attention_share = _share(moved, video)
        x = video + moved
        thought = self.ffn1(self.norm2(x))
        if self.norms_branches:
            thought = self.delta_norm_ffn(thought)
        moved = ffn_gate * thought
        if gates.shift is not None:  # FiLM keeps the whole branch: 1 + g multiplies it
            moved = thought + moved
        ffn_share = _share(moved, x)
        x = x + moved if gates.shift is None else x + moved + gates.shift
        x = x + self._attend(self.norm3(x), video_mask, token)
        x = x + self.ffn2(self.norm4(x))
        return Fused(x, (attention_gate, ffn_gate), (attention_share, ffn_share))

    def _hear(self, video: Tensor, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """What the audio says to each clip, before the gate: (B, L, d)."""
        if self.attends_audio:
            audio = self.norm1(audio)
            return self.cross_attention(self.norm1(video), audio, audio, self._mask(audio_mask))
        # With an identity score matrix the audio "attention" is these two projections alone.
        heard = (
            self.out_proj(self.a_proj(self.norm1(audio)))
            if self.audio_projection is None
            else self.audio_projection(audio)
        )
        return self.delta_norm_mha(heard) if self.norms_branches else heard

    def _attend(self, clips: Tensor, video_mask: Tensor, token: Tensor | None) -> Tensor:
        """What each clip reads from the others or from the global token, (B, L, d) | (1, 1, d)."""
        if token is None:
            return self.self_attention(clips, clips, clips, self._mask(video_mask))
        normed: Tensor = self.norm3(token)[None, None]
        if not self.hears_padding:
            return self.self_attention.of_one(normed)
        keys = torch.cat((normed.expand(clips.shape[0], 1, -1), clips), 1)
        heard = torch.cat((torch.ones_like(video_mask[:, :1]), 1 - video_mask), 1)
        return self.self_attention(clips, keys, keys, allow_keys(heard))

    def _mask(self, mask: Tensor) -> Tensor:
        return add_mask(mask) if self.added_masks else allow_keys(mask)


class Fusion(nn.Module):
    """All fusion layers; the audio is the same for every layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.projects = FAMILIES[config.family].projects_inputs
        if self.projects:
            self.video_proj = nn.Linear(config.video_width, config.hidden_dim)
            self.audio_proj = nn.Linear(config.audio_width, config.hidden_dim)
        # What layers normalise alike, before their own affine parts; a rewrite puts it here, once for all.
        self.audio_norm: nn.Module = nn.Identity()
        self.fusion_layers = nn.ModuleList(FusionLayer(config) for _ in range(config.fusion_layers))

    def forward(
        self,
        video: Tensor,
        audio: Tensor,
        video_mask: Tensor,
        audio_mask: Tensor,
        overrides: GateReplacements | None = None,
        token: Tensor | None = None,
    ) -> Fused:
        """Fuse video and audio (B, L, d); where the family projects them itself, raw features.

        ``token`` (d,): the global token, where the fusion stands behind the words.
        """
        if self.projects:
            video, audio = self.video_proj(video), self.audio_proj(audio)
        normed_audio = self.audio_norm(audio)
        layers: list[Fused] = []
        for i, layer in enumerate(self.fusion_layers):
            override = {kind: (s[:, i], o[:, i]) for kind, (s, o) in (overrides or {}).items()}
            layers.append(layer(video, audio, normed_audio, video_mask, audio_mask, override, token))
            video = layers[-1].video
        return Fused(
            video,
            (_stack([one.gates[0] for one in layers]), _stack([one.gates[1] for one in layers])),
            (
                _stack([one.contributions[0] for one in layers]),
                _stack([one.contributions[1] for one in layers]),
            ),
        )

    @property
    def gate_shapes(self) -> tuple[GateShape, ...]:
        """What the gates of each kind look like, each layer with its own range."""
        functions = self.gating_functions
        return tuple(
            GateShape(
                kind,
                functions[0].per_clip,
                functions[0].channels,
                tuple(
                    LayerGate(i, one.ranges[kind], one.acts_as[kind], one.activations[kind])
                    for i, one in enumerate(functions)
                ),
            )
            for kind in GATE_KINDS
        )

    @property
    def gating_functions(self) -> list[GatingFunction]:
        """Each layer's gating function."""
        layers = cast(Iterable[FusionLayer], self.fusion_layers)
        return [cast(GatingFunction, layer.gating_function) for layer in layers]


def _overridden(gate: Tensor, override: tuple[Tensor, Tensor] | None) -> Tensor:
    return gate if override is None else override[0] * gate + override[1]


def _share(moved: Tensor, stream: Tensor) -> Tensor:
    """‖moved‖ / ‖stream‖ per clip, (B, L, d) twice → (B, L)."""
    return moved.norm(dim=-1) / stream.norm(dim=-1).clamp(min=TINY)


def _stack(per_layer: list[Tensor]) -> Tensor:
    return torch.stack(per_layer, 1)
