"""The users' own way: the whole training-time forward in eager PyTorch, with hooks that copy the gates.

What it computes beyond the clean model, as the reference does in evaluation too: the transformer a second
time on shifted text (``saliency_scores_neg``), the outputs of every decoder layer and not of the last alone,
and attention as ``nn.MultiheadAttention`` does it, averaged weights included, with the sequence axis first.
Weights are those of a clean model, shared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from gatescope.export.families.attention import MultiheadAttention
from gatescope.export.families.decoder import DecoderLayer, inverse_sigmoid
from gatescope.export.families.encoder import EncoderLayer, T2VEncoderLayer
from gatescope.export.families.fusion import FusionLayer
from gatescope.export.families.positions import clip_positions, point_positions
from gatescope.export.families.qd_detr import GatedQDDETR

from .fusion import fuse
from .gate_hooks import History, copied_gates


def users_way(model: GatedQDDETR, batch: Mapping[str, Tensor]) -> Callable[[], History]:
    """A call moves ``batch`` to the model, runs it, and returns the gates; predictions become numpy too."""
    whole = UsersModel(model)
    device = model.global_rep_token.device

    @torch.no_grad()
    def run() -> History:
        moved = {name: tensor.to(device) for name, tensor in batch.items()}
        with copied_gates(model.fusion) as history:
            outputs = whole(**moved)
        for name in ("pred_logits", "pred_spans", "saliency_scores"):
            outputs[name].numpy(force=True)
        return history

    return run


class UsersModel(nn.Module):
    """The forward of training over the parameters of ``model``."""

    def __init__(self, model: GatedQDDETR) -> None:
        super().__init__()
        self.model = model
        self.fusion_attention = nn.ModuleList(
            _attention(layer.self_attention, batch_first=True) for layer in model.fusion.fusion_layers
        )
        transformer = model.transformer
        self.t2v_attention = nn.ModuleList(
            _attention(layer.self_attn) for layer in transformer.t2v_encoder.layers
        )
        self.encoder_attention = nn.ModuleList(
            _attention(layer.self_attn) for layer in transformer.encoder.layers
        )
        self.eval()

    def forward(
        self,
        src_txt: Tensor,
        src_txt_mask: Tensor,
        src_vid: Tensor,
        src_vid_mask: Tensor,
        src_aud: Tensor,
        src_aud_mask: Tensor,
    ) -> dict[str, Tensor]:
        """Outputs under the reference's names; those of earlier decoder layers under ``aux_…``."""
        model = self.model
        words = model.input_txt_proj(src_txt)
        video, audio = model.input_vid_proj(src_vid), model.input_aud_proj(src_aud)
        attention = dict(zip(model.fusion.fusion_layers, self.fusion_attention, strict=True))

        def attend(layer: FusionLayer, normed: Tensor, mask: Tensor) -> Tensor:
            return attention[layer](normed, normed, normed, key_padding_mask=mask == 0)[0]

        video = fuse(model.fusion, video, audio, src_vid_mask, src_aud_mask, attend)
        content, points, summary, clips = self._transform(video, src_vid_mask, words, src_txt_mask)
        logits = model.class_embed(content)
        spans = (model.span_embed(content) + inverse_sigmoid(points)).sigmoid()
        shifted, shifted_mask = (torch.cat((x[1:], x[:1])) for x in (words, src_txt_mask))
        _, _, other_summary, other_clips = self._transform(video, src_vid_mask, shifted, shifted_mask)
        return {
            "pred_logits": logits[-1],
            "pred_spans": spans[-1],
            "aux_logits": logits[:-1],
            "aux_spans": spans[:-1],
            "saliency_scores": self._saliency(summary, clips),
            "saliency_scores_neg": self._saliency(other_summary, other_clips),
        }

    def _transform(
        self, video: Tensor, video_mask: Tensor, words: Tensor, text_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Contents and points (layer, B, Q, d | 2), the global token (B, d) and the clips (B, L, d)."""
        model = self.model
        batch = len(video)
        clip_pos = clip_positions(video_mask, video.shape[-1])
        word_pos = torch.zeros_like(words)
        if model.txt_position_embed is not None:
            word_pos = model.txt_position_embed(words)
        token, token_pos = (
            one.expand(batch, 1, -1) for one in (model.global_rep_token, model.global_rep_pos)
        )
        src = torch.cat((token, video, words), 1).transpose(0, 1)
        pos = torch.cat((token_pos, clip_pos, word_pos), 1).transpose(0, 1)
        mask = torch.cat((torch.ones_like(video_mask[:, :1]), video_mask, text_mask), 1)
        src = self._read_words(src, pos, mask, clips=video.shape[1])
        seen = video.shape[1] + 1
        src, pos, padding = src[:seen], pos[:seen], mask[:, :seen] == 0
        for layer, attention in zip(model.transformer.encoder.layers, self.encoder_attention, strict=True):
            src = _encode(layer, attention, src, pos, padding)
        content, points = self._decode(src[1:], pos[1:], padding[:, 1:])
        return content, points, src[0], src[1:].transpose(0, 1)

    def _read_words(self, src: Tensor, pos: Tensor, mask: Tensor, clips: int) -> Tensor:
        """The clips attend to the words; token and words pass through: (1 + L + T, B, d) → the same."""
        encoder = self.model.transformer.t2v_encoder
        video_mask, text_mask = mask[:, 1 : clips + 1], mask[:, clips + 1 :]
        padded = (video_mask[:, :, None] == 0) & (text_mask[:, None, :] == 0)
        tiled = padded.repeat(encoder.heads, 1, 1)
        for layer, attention in zip(encoder.layers, self.t2v_attention, strict=True):
            src = _read(layer, attention, src, pos, text_mask == 0, tiled, clips)
        return src

    def _decode(self, memory: Tensor, pos: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """Contents and the points that entered each layer, (layer, B, Q, d | 2)."""
        decoder = self.model.transformer.decoder
        batch = memory.shape[1]
        points = self.model.query_embed.weight.sigmoid()[:, None].expand(-1, batch, -1)
        content = memory.new_zeros(*points.shape[:2], memory.shape[-1])
        contents: list[Tensor] = []
        entered: list[Tensor] = []
        for i, layer in enumerate(decoder.layers):
            sine = point_positions(points)
            query_pos = decoder.ref_point_head(sine)
            scale = 1 if i == 0 else decoder.query_scale(content)
            width = decoder.ref_anchor_head(content).sigmoid() / points[..., 1:]
            content = _moments(layer, content, query_pos, sine * scale * width, memory, pos, padding)
            entered.append(points)
            points = (decoder.bbox_embed(content) + inverse_sigmoid(points)).sigmoid()
            contents.append(decoder.norm(content))
        return torch.stack(contents).transpose(1, 2), torch.stack(entered).transpose(1, 2)

    def _saliency(self, summary: Tensor, clips: Tensor) -> Tensor:
        product = self.model.saliency_proj1(clips) * self.model.saliency_proj2(summary)[:, None]
        return product.sum(-1) / math.sqrt(clips.shape[-1])


def _attention(ours: MultiheadAttention, *, batch_first: bool = False) -> nn.MultiheadAttention:
    """PyTorch's own attention over the parameters of ``ours``."""
    theirs = nn.MultiheadAttention(
        ours.out_proj.in_features, ours.heads, batch_first=batch_first, device="meta"
    )
    theirs.in_proj_weight, theirs.in_proj_bias = ours.in_proj_weight, ours.in_proj_bias
    theirs.out_proj.weight, theirs.out_proj.bias = ours.out_proj.weight, ours.out_proj.bias
    return theirs


def _read(
    layer: T2VEncoderLayer,
    attention: nn.MultiheadAttention,
    src: Tensor,
    pos: Tensor,
    padding: Tensor,
    tiled: Tensor,
    clips: int,
) -> Tensor:
    token, video, words = src[:1], src[1 : clips + 1], src[clips + 1 :]
    query, keys = video + pos[1 : clips + 1], words + pos[clips + 1 :]
    x = video + attention(query, keys, words, key_padding_mask=padding, attn_mask=tiled)[0]
    x = layer.norm2(x + layer.feedforward(layer.norm1(x)))
    return torch.cat((token, x, words))


def _encode(
    layer: EncoderLayer, attention: nn.MultiheadAttention, src: Tensor, pos: Tensor, padding: Tensor
) -> Tensor:
    keys = src + pos
    src = layer.norm1(src + attention(keys, keys, src, key_padding_mask=padding)[0])
    return layer.norm2(src + layer.feedforward(src))


def _moments(
    layer: DecoderLayer,
    content: Tensor,
    query_pos: Tensor,
    sine: Tensor,
    memory: Tensor,
    pos: Tensor,
    padding: Tensor,
) -> Tensor:
    """One decoder layer: content, positions and sine codes (Q, B, d); memory, positions (L, B, d)."""
    q = layer.sa_qcontent_proj(content) + layer.sa_qpos_proj(query_pos)
    k = layer.sa_kcontent_proj(content) + layer.sa_kpos_proj(query_pos)
    attended, _ = _attend_and_average(q, k, layer.sa_v_proj(content), layer.heads, None)
    content = layer.norm1(content + layer.self_attn(attended))
    q, k, v = layer.ca_qcontent_proj(content), layer.ca_kcontent_proj(memory), layer.ca_v_proj(memory)
    k_pos = layer.ca_kpos_proj(pos)
    if layer.ca_qpos_proj is not None:
        q, k = q + layer.ca_qpos_proj(query_pos), k + k_pos
    q, k = (
        torch.cat((x.unflatten(-1, (layer.heads, -1)), p.unflatten(-1, (layer.heads, -1))), -1).flatten(2)
        for x, p in ((q, layer.ca_qpos_sine_proj(sine)), (k, k_pos))
    )
    attended, _ = _attend_and_average(q, k, v, layer.heads, padding)
    content = layer.norm2(content + layer.cross_attn(attended))
    return layer.norm3(content + layer.linear2(layer.activation(layer.linear1(content))))


def _attend_and_average(
    q: Tensor, k: Tensor, v: Tensor, heads: int, padding: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attention of (Q, B, D), (S, B, D), (S, B, E), and its weights averaged over heads (B, Q, S)."""
    batch = q.shape[1]
    q, k, v = (x.unflatten(-1, (heads, -1)).flatten(1, 2).transpose(0, 1) for x in (q, k, v))
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(1, 2)
    if padding is not None:
        hidden = padding[:, None, None, :]
        weights = weights.unflatten(0, (batch, heads)).masked_fill(hidden, -math.inf).flatten(0, 1)
    weights = weights.softmax(-1)
    out = (weights @ v).transpose(0, 1).unflatten(1, (batch, heads)).flatten(2)
    return out, weights.unflatten(0, (batch, heads)).mean(1)
