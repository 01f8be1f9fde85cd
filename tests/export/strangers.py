"""Models as research groups write them, unedited: each has traits that a capture used to stop at.

- :class:`PartsCalled`: made for a GPU, a copied attention, the negative pair by slicing, layers whose parts
  are called and never the layer itself, gates (B, 1).
- :class:`Growing`: layers that take and return one tuple with the clips first, and lists of all gates so far.
- :class:`OneGate`: a gate on the audio alone, and masks as floating point numbers.
- :class:`Banded`: an ``if`` on the number of clips, which ``whole`` makes one that no graph can follow.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

D = 16
OPTIONS: dict[str, Any] = {
    "v_feat_dim": 10,
    "a_feat_dim": 8,
    "t_feat_dim": 6,
    "ctx_mode": "video_tef",
    "max_v_l": 14,
    "max_q_l": 6,
    "v_feat_dirs": ["a_features"],
    "a_feat_dir": "pann",
    "t_feat_dir": "txt",
}


def copied_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, out: int | None = None
) -> Tensor:
    """As copies of PyTorch's own: whoever watches gets fewer arguments than there are."""
    if has_torch_function((q, k, v)):
        return handle_torch_function(copied_attention, (q, k, v), q, k, v, mask)
    assert out is not None
    scores = q @ k.transpose(1, 2) / out**0.5
    if mask is not None:
        scores = scores.masked_fill(mask[:, None, :], -1e4)
    return scores.softmax(-1) @ v


def perceptron(inputs: int, outputs: int, *after: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, D), nn.ReLU(), nn.Linear(D, outputs), *after)


class Stranger(nn.Module):
    """Projections, a fusion, heads; the fusion runs again for the negative pair."""

    def __init__(self, opt: argparse.Namespace) -> None:
        super().__init__()
        self.video = nn.Linear(opt.v_feat_dim, D)
        self.audio = nn.Linear(opt.a_feat_dim, D)
        self.text = nn.Linear(opt.t_feat_dim, D)
        self.token = nn.Parameter(torch.randn(D))
        self.classes, self.spans = nn.Linear(D, 6), nn.Linear(D, 6)

    def fuse(self, v: Tensor, a: Tensor, words: Tensor, masks: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        raise NotImplementedError

    def forward(
        self,
        src_txt: Tensor,
        src_txt_mask: Tensor,
        src_vid: Tensor,
        src_vid_mask: Tensor,
        src_aud: Tensor,
        src_aud_mask: Tensor,
    ) -> dict[str, Any]:
        v, a, words = self.video(src_vid), self.audio(src_aud), self.text(src_txt)
        x = self.fuse(v, a, words, (src_vid_mask, src_aud_mask, src_txt_mask))
        words, mask = (torch.cat([one[1:], one[0:1]], dim=0) for one in (words, src_txt_mask))
        shifted = self.fuse(v, a, words, (src_vid_mask, src_aud_mask, mask))
        length = v.shape[1]
        whole = torch.cat([self.token.expand(v.shape[0], 1, -1), x], 1)[:, : length + 1]
        pooled = whole[:, 0] + (whole[:, 1:] * src_vid_mask[..., None]).sum(1) / src_vid_mask.sum(
            1, keepdim=True
        )
        return {
            "pred_logits": self.classes(pooled).view(-1, 3, 2),
            "pred_spans": self.spans(pooled).view(-1, 3, 2).sigmoid(),
            "saliency_scores": x.mean(-1),
            "saliency_scores_neg": shifted.mean(-1),
        }


class Gates(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = perceptron(2 * D, 1), perceptron(2 * D, 1)

    def forward(self, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        joint = torch.cat([v.mean(1), a.mean(1)], 1)
        return torch.tanh(self.one(joint)), torch.tanh(self.two(joint))


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gates, self.feed, self.norm = Gates(), perceptron(D, D), nn.LayerNorm(D)

    def forward(self) -> None:
        raise AssertionError("nobody calls the layer itself")


class PartsCalled(Stranger):
    def __init__(self, opt: argparse.Namespace) -> None:
        super().__init__(opt)
        self.layers = nn.ModuleList(Part() for _ in range(2))

    def fuse(self, v: Tensor, a: Tensor, words: Tensor, masks: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        start = torch.zeros(v.shape[0], 1, D).cuda() + torch.ones(1, device="cuda").to("cuda:0")
        v = v + start
        for layer in self.layers:
            g, h = layer.gates(v, a)
            v = v + g.unsqueeze(-1) * copied_attention(layer.norm(v), a, a, masks[1].eq(0), out=D)
            v = v + h.unsqueeze(-1) * layer.feed(layer.norm(v))
        return v + copied_attention(v, words, words, masks[2].eq(0), out=D)


class Carrying(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = perceptron(2 * D, 1), perceptron(2 * D, 1)
        self.attention, self.feed = nn.MultiheadAttention(D, 2), perceptron(D, D)

    def forward(self, carried: tuple[Tensor, Tensor, list[Tensor], list[Tensor]]) -> Any:
        x, a, firsts, seconds = carried
        joint = torch.cat((x.mean(0), a.mean(0)), -1)
        g, h = self.first(joint).tanh(), self.second(joint).sigmoid() * 0.5
        x = x + self.attention(x, a, a)[0] * g
        x = x + self.feed(x) * h
        firsts.append(g.view(-1))
        seconds.append(h.view(-1))
        return x, a, firsts, seconds


class Growing(Stranger):
    def __init__(self, opt: argparse.Namespace) -> None:
        super().__init__(opt)
        self.blocks = nn.Sequential(Carrying(), Carrying())

    def fuse(self, v: Tensor, a: Tensor, words: Tensor, masks: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        x, *_ = self.blocks((v.transpose(0, 1), a.transpose(0, 1), [], []))
        return x.transpose(0, 1) + words.mean(1, keepdim=True)


class AudioFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(D, 2, batch_first=True)
        self.valve = perceptron(D, 1, nn.Sigmoid())

    def forward(self, a: Tensor, words: Tensor, mask: Tensor, words_mask: Tensor) -> Tensor:
        heard = a + self.attention(a, words, words, key_padding_mask=(1.0 - words_mask).bool())[0]
        kept = self.attention(heard, heard, heard, key_padding_mask=mask)[0]
        return heard * self.valve(kept.mean(1)).unsqueeze(-1)


class OneGate(Stranger):
    def __init__(self, opt: argparse.Namespace) -> None:
        super().__init__(opt)
        self.refine = AudioFirst()

    def fuse(self, v: Tensor, a: Tensor, words: Tensor, masks: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return v + self.refine(a, words, masks[1], masks[2])


class BandGates(nn.Module):
    """Gates from the stripes next to the diagonal of a self-similarity, as many as there are clips for."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.one, self.two = perceptron(4, 1), perceptron(4, 1)
        self.whole = whole

    def forward(self, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        alike = F.normalize(v + a, dim=-1) @ F.normalize(v + a, dim=-1).transpose(1, 2)
        length = v.shape[1]
        stripes = alike.new_zeros(v.shape[0], 4, length)
        for k in range(4):
            if length - k > 0:
                stripes[:, k, : length - k] = alike[:, : length - k, k:length].diagonal(dim1=1, dim2=2)
        pooled = stripes.mean(-1)
        if self.whole and length > 5:
            pooled = pooled * 2
        return torch.tanh(self.one(pooled))[..., None], torch.tanh(self.two(pooled))[..., None]


class BandLayer(nn.Module):
    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.gates, self.feed = BandGates(whole), perceptron(D, D)

    def forward(self, v: Tensor, a: Tensor) -> Tensor:
        g, h = self.gates(v, a)
        v = v + g * a
        return v + h * self.feed(v)


class Banded(Stranger):
    def __init__(self, opt: argparse.Namespace) -> None:
        super().__init__(opt)
        self.layers = nn.ModuleList([BandLayer(getattr(opt, "whole", False))])

    def fuse(self, v: Tensor, a: Tensor, words: Tensor, masks: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        for layer in self.layers:
            v = layer(v, a)
        return v + words.mean(1, keepdim=True)


def options(**changes: Any) -> argparse.Namespace:
    return argparse.Namespace(**OPTIONS | changes)
