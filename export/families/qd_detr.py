"""The whole model: QD-DETR with a gated audio-video fusion in front of its transformer, or in it.

Follows the reference's inference pass. The differences: gates are outputs; the negative pair (a second pass
on shifted text), the auxiliary outputs of earlier decoder layers and the contrastive heads are left out,
because nothing at inference needs them.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .decoder import Decoder, inverse_sigmoid
from .encoder import Encoder, T2VEncoder
from .family import FAMILIES
from .fusion import Fused, Fusion, GateReplacements
from .layers import InputProjection, Perceptron
from .positions import WordPositions, clip_positions


class ModelOutputs(NamedTuple):
    """What one forward pass returns, in the order of the exported graph's outputs.

    - ``pred_logits`` (B, Q, 2): class 0 is foreground.
    - ``pred_spans`` (B, Q, 2): centre and width of each moment, fractions of the duration.
    - ``saliency_scores`` (B, L): unbounded; entries of padding clips mean nothing.
    - ``gate_attention``, ``gate_ffn`` (B, layer, L | 1, 1 | d): entries of padding clips mean nothing.
    - ``contribution_attention``, ``contribution_ffn`` (B, layer, L): how far the gated branch moves the
      stream, ‖m·branch‖ / ‖stream‖; entries of padding clips mean nothing.
    """

    pred_logits: Tensor
    pred_spans: Tensor
    saliency_scores: Tensor
    gate_attention: Tensor
    gate_ffn: Tensor
    contribution_attention: Tensor
    contribution_ffn: Tensor


class Transformer(nn.Module):
    """T2V encoder, encoder (where the family uses it) and decoder under one name, as in the checkpoint."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.t2v_encoder = T2VEncoder(config)
        self.encoder = None if FAMILIES[config.family].skips_encoder else Encoder(config)
        self.decoder = Decoder(config)

    def up_to_the_words(self) -> Transformer:
        """Its T2V encoder alone, parameters shared."""
        part = copy.copy(self)
        part._modules = {"t2v_encoder": self.t2v_encoder}
        return part


class GatedQDDETR(nn.Module):
    """Moment retrieval and highlight detection from words, clips and their audio."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.hidden_dim
        self.config = config
        self.global_rep_token = nn.Parameter(torch.empty(d))
        self.global_rep_pos = nn.Parameter(torch.empty(d))
        self.input_txt_proj = InputProjection(config.text_width, d, config.input_projections)
        family = FAMILIES[config.family]
        self.projects, self.words_first = not family.projects_inputs, family.words_first
        if self.projects:
            self.input_vid_proj = InputProjection(config.video_width, d, config.input_projections)
            self.input_aud_proj = InputProjection(config.audio_width, d, config.input_projections)
        self.txt_position_embed = WordPositions(config.max_words, d) if config.text_positions else None
        self.fusion = Fusion(config)
        self.transformer = Transformer(config)
        self.query_embed = nn.Embedding(config.queries, 2)
        self.class_embed = nn.Linear(d, 2)
        self.span_embed = Perceptron(d, d, d, 2)
        self.saliency_proj1 = nn.Linear(d, d)
        self.saliency_proj2 = nn.Linear(d, d)
        # Set by a rewrite: the same score from the global token (B, d) and the clips (B, L, d).
        self.saliency_score: nn.Module | None = None

    def forward(
        self,
        src_txt: Tensor,
        src_txt_mask: Tensor,
        src_vid: Tensor,
        src_vid_mask: Tensor,
        src_aud: Tensor,
        src_aud_mask: Tensor,
        overrides: GateReplacements | None = None,
    ) -> ModelOutputs:
        """Words (B, T, Dt), clips (B, L, Dv), audio (B, L, Da); masks (B, T | L), 1 = valid, float32."""
        fused = self.fuse(src_vid, src_vid_mask, src_aud, src_aud_mask, overrides, src_txt, src_txt_mask)
        predictions = self.predict(fused.video, src_vid_mask, src_txt, src_txt_mask)
        return ModelOutputs(*predictions, *fused.gates, *fused.contributions)

    def fuse(
        self,
        src_vid: Tensor,
        src_vid_mask: Tensor,
        src_aud: Tensor,
        src_aud_mask: Tensor,
        overrides: GateReplacements | None = None,
        src_txt: Tensor | None = None,
        src_txt_mask: Tensor | None = None,
    ) -> Fused:
        """The model up to its last gate; the query has a part in it only where the words come first."""
        if self.projects:
            src_vid, src_aud = self.input_vid_proj(src_vid), self.input_aud_proj(src_aud)
        if not self.words_first:
            return self.fusion(src_vid, src_aud, src_vid_mask, src_aud_mask, overrides)
        assert src_txt is not None and src_txt_mask is not None
        video = self._read_words(src_vid, src_vid_mask, src_txt, src_txt_mask)
        return self.fusion(video, src_aud, src_vid_mask, src_aud_mask, overrides, self.global_rep_token)

    def up_to_the_gates(self) -> GatedQDDETR:
        """This model, its parameters shared, without what only :meth:`predict` needs."""
        kept = {"input_vid_proj", "input_aud_proj", "fusion"}
        if self.words_first:
            kept |= {"input_txt_proj", "txt_position_embed", "global_rep_token"}
        part = copy.copy(self)
        part._modules = {name: module for name, module in self._modules.items() if name in kept}
        part._parameters = {name: one for name, one in self._parameters.items() if name in kept}
        if self.words_first:
            part.transformer = self.transformer.up_to_the_words()
        return part

    def predict(
        self, video: Tensor, video_mask: Tensor, src_txt: Tensor, src_txt_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, spans and saliency from the fused video (B, L, d) and the words (B, T, Dt).

        Where the words came first, the video has read them.
        """
        if not self.words_first:
            video = self._read_words(video, video_mask, src_txt, src_txt_mask)
        pos = clip_positions(video_mask, video.shape[-1]).to(video.dtype)
        summary, clips = self._encode(video, pos, video_mask)
        pred_logits, pred_spans = self._decode(clips, pos, video_mask)
        return pred_logits, pred_spans, self._saliency(summary, clips)

    def _read_words(self, clips: Tensor, video_mask: Tensor, src_txt: Tensor, src_txt_mask: Tensor) -> Tensor:
        """The clips (B, L, d) that have attended to the words (B, T, Dt)."""
        words = self.input_txt_proj(src_txt)
        pos = clip_positions(video_mask, clips.shape[-1]).to(clips.dtype)
        word_pos = None if self.txt_position_embed is None else self.txt_position_embed(words)
        return self.transformer.t2v_encoder(clips, pos, words, word_pos, video_mask, src_txt_mask)

    def _encode(self, clips: Tensor, pos: Tensor, video_mask: Tensor) -> tuple[Tensor, Tensor]:
        """The global token (B | 1, d) and the clips (B, L, d), as they come where there is no encoder."""
        if self.transformer.encoder is None:
            return self.global_rep_token[None], clips
        batch = clips.shape[0]
        token = self.global_rep_token.expand(batch, 1, -1)
        token_pos = self.global_rep_pos.expand(batch, 1, -1)
        memory = self.transformer.encoder(
            torch.cat((token, clips), 1),
            torch.cat((token_pos, pos), 1),
            torch.cat((torch.ones_like(video_mask[:, :1]), video_mask), 1),
        )
        return memory[:, 0], memory[:, 1:]

    def _decode(self, clips: Tensor, pos: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits and spans, (B, Q, 2) each."""
        points = self.query_embed.weight.sigmoid().expand(clips.shape[0], -1, -1)
        content, points = self.transformer.decoder(points, clips, pos, mask)
        return self.class_embed(content), (self.span_embed(content) + inverse_sigmoid(points)).sigmoid()

    def _saliency(self, summary: Tensor, clips: Tensor) -> Tensor:
        """Agreement of each clip with the global token, (B, L)."""
        if self.saliency_score is not None:
            return self.saliency_score(summary, clips)
        product = self.saliency_proj1(clips) * self.saliency_proj2(summary)[:, None]
        return product.sum(-1) / math.sqrt(clips.shape[-1])
