"""A research group's own model code, of which gatescope knows nothing: other names, other gates."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

OPTIONS: dict[str, Any] = {
    "v_feat_dim": 42,
    "a_feat_dim": 22,
    "t_feat_dim": 16,
    "ctx_mode": "video_tef",
    "text_first": False,
    "elementwise": False,
    "batch_mean": False,
    "max_v_l": 30,
    "max_q_l": 12,
    "eval_bsz": 4,
    "v_feat_dirs": ["a_features", "b_features"],
    "a_feat_dir": "pann",
    "t_feat_dir": "txt",
}


def perceptron(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))


class Valve(nn.Module):
    def __init__(self, d: int, channels: int) -> None:
        super().__init__()
        self.one = perceptron(2 * d, d // 2, channels)
        self.two = perceptron(2 * d, d // 2, channels)
        self.scale = nn.Parameter(torch.tensor(0.8))

    def forward(self, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        joint = torch.cat([v, a], -1)
        return torch.sigmoid(self.one(joint)) * self.scale, torch.tanh(self.two(joint))


class Block(nn.Module):
    def __init__(self, d: int, channels: int) -> None:
        super().__init__()
        self.valve = Valve(d, channels)
        self.ffn = perceptron(d, 2 * d, d)
        self.norm = nn.LayerNorm(d)

    def forward(self, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loud, quiet = self.valve(v, a)
        v = v + loud * a
        return v + quiet * self.ffn(self.norm(v)), loud, quiet


class Mixer(nn.Module):
    def __init__(self, d: int, channels: int, count: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(d, channels) for _ in range(count))

    def forward(self, v: Tensor, a: Tensor) -> Tensor:
        for block in self.blocks:
            v, *_ = block(v, a)
        return v


class LabModel(nn.Module):
    """Runs its fusion twice: the second time for the negative pair, on shifted text."""

    def __init__(self, opt: argparse.Namespace) -> None:
        super().__init__()
        d = 32
        self.opt = opt
        self.video = nn.Linear(opt.v_feat_dim, d)
        self.audio = nn.Linear(opt.a_feat_dim, d)
        self.text = nn.Linear(opt.t_feat_dim, d)
        self.mixer = Mixer(d, d if opt.elementwise else 1, 3)
        self.classes = nn.Linear(d, 20)
        self.spans = nn.Linear(d, 20)
        self.dropout = nn.Dropout(0.1)

    def _pass(self, v: Tensor, a: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        query = (words * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        if self.opt.text_first:
            return self.mixer(v + query[:, None], a)
        return self.mixer(v, a) + query[:, None]

    def forward(
        self,
        src_txt: Tensor,
        src_txt_mask: Tensor,
        src_vid: Tensor,
        src_vid_mask: Tensor,
        src_aud: Tensor | None = None,
        src_aud_mask: Tensor | None = None,
    ) -> dict[str, Any]:
        assert src_aud is not None
        v, a, words = self.video(src_vid), self.audio(src_aud), self.dropout(self.text(src_txt))
        x = self._pass(v, a, words, src_txt_mask)
        shifted = self._pass(v, a, torch.roll(words, 1, 0), torch.roll(src_txt_mask, 1, 0))
        mask = src_vid_mask[..., None]
        pooled = x.mean(1) if self.opt.batch_mean else (x * mask).sum(1) / mask.sum(1)
        return {
            "pred_logits": self.classes(pooled).view(-1, 10, 2),
            "pred_spans": self.spans(pooled).view(-1, 10, 2).sigmoid(),
            "saliency_scores": x.mean(-1),
            "saliency_scores_neg": shifted.mean(-1),
            "aux_outputs": [1],
        }


class OnTheGpu(LabModel):
    def forward(self, src_txt: Tensor, **inputs: Tensor) -> dict[str, Any]:
        noise = torch.zeros(src_txt.shape[-1], device="cuda")
        return super().forward(src_txt.cuda() + noise.to("cuda:0"), **inputs)


class Wilful(LabModel):
    def forward(self, src_txt: Tensor, **inputs: Tensor) -> dict[str, Any]:
        out = super().forward(src_txt, **inputs)
        if float(out["saliency_scores"].sum()) > 0:
            out["saliency_scores"] = -out["saliency_scores"]
        return out


class Gateless(nn.Module):
    def __init__(self, opt: argparse.Namespace) -> None:
        super().__init__()
        self.video = nn.Linear(opt.v_feat_dim, 8)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        return {"saliency_scores": self.video(inputs["src_vid"]).mean(-1)}


def build(opt: argparse.Namespace) -> tuple[nn.Module, None]:
    """A factory as training scripts have them: the model and its criterion."""
    return LabModel(opt), None


def on_the_gpu(opt: argparse.Namespace) -> nn.Module:
    return OnTheGpu(opt)


def wilful(opt: argparse.Namespace) -> nn.Module:
    return Wilful(opt)


def gateless(opt: argparse.Namespace) -> nn.Module:
    return Gateless(opt)


def failing(opt: argparse.Namespace) -> nn.Module:
    raise RuntimeError("the backbone was not downloaded")


def number(opt: argparse.Namespace) -> int:
    return 3


def save(path: Path, factory: Any = build, **changes: Any) -> Path:
    """A checkpoint of the lab's model, drawn with a fixed seed."""
    options = argparse.Namespace(**OPTIONS | changes)
    torch.manual_seed(0)
    built = factory(options)
    model = built[0] if isinstance(built, tuple) else built
    torch.save({"model": model.state_dict(), "opt": options}, path)
    return path
