"""Models as users write them: other names, other shapes, other places for the gates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

D = 8


def mlp(inputs: int, outputs: int, *after: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 4), nn.ReLU(), nn.Linear(4, outputs), *after)


class TwoGates(nn.Module):
    """The usual one: joint features, two perceptrons, tanh."""

    def __init__(self, channels: int = 1, pooled: bool = False) -> None:
        super().__init__()
        self.p = mlp(2 * D, channels)
        self.q = mlp(2 * D, channels)
        self.drop = nn.Dropout(0.3)
        self.pooled = pooled

    def forward(self, v: Tensor, a: Tensor) -> Any:
        joint = torch.cat((v, a), -1)
        if self.pooled:
            joint = joint.mean(1, keepdim=True)
        joint = self.drop(joint)
        return torch.tanh(self.p(joint)), torch.tanh(self.q(joint))


class FlatGates(TwoGates):
    """(B, 1) gates."""

    def forward(self, v: Tensor, a: Tensor) -> Any:
        joint = torch.cat((v.mean(1), a.mean(1)), -1)
        return [torch.tanh(self.p(joint)), torch.tanh(self.q(joint))]


class NamedGates(TwoGates):
    """A dict, in which the FFN gate comes first."""

    def forward(self, v: Tensor, a: Tensor) -> Any:
        attention, ffn = super().forward(v, a)
        return {"ffn_gate": ffn, "att_gate": attention}


class ThreeBranches(nn.Module):
    """FiLM: a scaled sigmoid, a scaled tanh and a shift."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: mlp(2 * D, D) for name in ("first", "second", "third")})
        self.size = nn.Parameter(torch.tensor(1.7))

    def forward(self, v: Tensor, a: Tensor) -> Any:
        joint = torch.cat((v, a), -1)
        first, second, third = (head(joint) for head in self.heads.values())
        return first.sigmoid() * self.size, second.tanh(), third.tanh()


class Wrapped(nn.Module):
    """The perceptrons lie deeper than the module that bounds their output."""

    def __init__(self) -> None:
        super().__init__()
        self.core = Logits()

    def forward(self, v: Tensor, a: Tensor) -> Any:
        first, second = self.core(torch.cat((v, a), -1))
        return first.sigmoid(), second.sigmoid()


class Logits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(2 * D, 1)
        self.two = nn.Linear(2 * D, 1)

    def forward(self, joint: Tensor) -> Any:
        return self.one(joint), self.two(joint)


class Split(nn.Module):
    """One perceptron with two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(2 * D, 2)

    def forward(self, v: Tensor, a: Tensor) -> Any:
        return torch.tanh(self.net(torch.cat((v, a), -1))).chunk(2, -1)


class Added(nn.Module):
    """No concatenation: perceptrons from d to d."""

    def __init__(self) -> None:
        super().__init__()
        self.one = mlp(D, D)
        self.two = mlp(D, D)

    def forward(self, v: Tensor, a: Tensor) -> Any:
        return torch.tanh(self.one(v + a)), torch.tanh(self.two(v + a))


class Block(nn.Module):
    """A fusion layer with a gating module of any name and kind."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(D, 2, dropout=0.1, batch_first=True)
        self.mix = gate
        self.ffn1 = mlp(D, D)
        self.ffn2 = mlp(D, D)
        self.norm = nn.LayerNorm(D)

    def gates(self, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        found = self.mix(v, a)
        if isinstance(found, dict):
            found = found["att_gate"], found["ffn_gate"]
        first, second = found[:2]
        return (first, second) if first.ndim == 3 else (first[:, None], second[:, None])

    def forward(self, v: Tensor, a: Tensor) -> Tensor:
        g, h = self.gates(v, a)
        v = v + g * self.attn(self.norm(v), a, a)[0]
        v = v + h * self.ffn1(self.norm(v))
        return v + self.ffn2(v)


class InlineBlock(nn.Module):
    """A fusion layer that computes its gates itself."""

    def __init__(self, *, returned: bool, bounded: bool, channels: int = 1) -> None:
        super().__init__()
        after = (nn.Tanh(),) if bounded else ()
        self.attn = nn.MultiheadAttention(D, 2, batch_first=True)
        self.to_one = mlp(2 * D, channels, *after)
        self.to_two = mlp(2 * D, channels, *after)
        self.ffn = mlp(D, D)
        self.returned, self.bounded = returned, bounded

    def forward(self, v: Tensor, a: Tensor) -> Any:
        joint = torch.cat((v, a), -1)
        g, h = self.to_one(joint), self.to_two(joint)
        if not self.bounded:
            g, h = g.tanh(), h.tanh()
        v = v + g * self.attn(v, a, a)[0]
        v = v + h * self.ffn(v)
        return (v, g, h) if self.returned else v


class Mixer(nn.Module):
    def __init__(self, block: Callable[[], nn.Module], depth: int = 2) -> None:
        super().__init__()
        self.stack = nn.ModuleList(block() for _ in range(depth))

    def forward(self, v: Tensor, a: Tensor, valid: Tensor | None = None) -> Tensor:
        for layer in self.stack:
            out = layer(v, a)
            v = out[0] if isinstance(out, tuple) else out
        return v


class Detector(nn.Module):
    """A model around a fusion, with layers that a careless search takes for gates."""

    def __init__(self, block: Callable[[], nn.Module], depth: int = 2, *, twice: bool = False) -> None:
        super().__init__()
        self.video_in = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, D))
        self.audio_in = nn.Sequential(nn.LayerNorm(5), nn.Linear(5, D))
        self.text_in = nn.Linear(4, D)
        self.mixer = Mixer(block, depth)
        layer = nn.TransformerEncoderLayer(D, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.score = nn.Linear(D, 1)
        self.spans = mlp(D, 2)
        self.twice = twice

    def forward(
        self,
        src_txt: Tensor,
        src_txt_mask: Tensor,
        src_vid: Tensor,
        src_vid_mask: Tensor,
        src_aud: Tensor,
        src_aud_mask: Tensor,
    ) -> dict[str, Tensor]:
        out = self.once(src_txt, src_vid, src_vid_mask, src_aud)
        if self.twice:
            shifted = torch.roll(src_txt, 1, 0)
            out["negative"] = self.once(shifted, src_vid, src_vid_mask, src_aud)["scores"]
        return out

    def once(self, text: Tensor, video: Tensor, mask: Tensor, audio: Tensor) -> dict[str, Tensor]:
        v = self.video_in(video) + self.text_in(text).mean(1, keepdim=True) * (1 if self.twice else 0)
        v = self.mixer(v, self.audio_in(audio))
        memory = self.encoder(v, src_key_padding_mask=mask == 0)
        return {"scores": self.score(memory)[..., 0], "spans": self.spans(memory).sigmoid()}


def batch_of(clips: tuple[int, ...] = (7, 4), words: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """A padded batch, with padding as it comes: not zero."""
    generator = torch.Generator().manual_seed(seed)
    samples, length = len(clips), max(clips)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    mask = (torch.arange(length) < torch.tensor(clips)[:, None]).float()
    return {
        "src_txt": draw(samples, words, 4),
        "src_txt_mask": torch.ones(samples, words),
        "src_vid": draw(samples, length, 6),
        "src_vid_mask": mask,
        "src_aud": draw(samples, length, 5),
        "src_aud_mask": mask,
    }


def detector(
    block: Callable[[], nn.Module], depth: int = 2, *, seed: int = 0, twice: bool = False
) -> Detector:
    torch.manual_seed(seed)
    return Detector(block, depth, twice=twice).eval()
