"""A small training code of our own, and its forward pass as a branch that is known."""

from __future__ import annotations

import zipfile
from pathlib import Path

from gatescope.export.reading.fingerprint import fingerprint_code
from gatescope.export.reading.known_branches import KnownBranch

MODEL = '''\
"""A model."""
import logging

import torch
from torch import nn

from qd_lab.fusion import Fusion
from qd_lab.matcher import build_matcher
from .transformer import build_transformer

logger = logging.getLogger(__name__)
SCALE = 2.0


class Finder(nn.Module):
    """Finds moments."""

    def __init__(self, transformer, width: int, first=True):
        super().__init__()
        self.transformer = transformer
        self.fusion = Fusion(width)
        self.first = first
        nn.init.zeros_(self.fusion.scale)

    def forward(self, video, audio, words):
        """Video (B, L, d)."""
        assert video.ndim == 3
        if self.first:
            video = self.fusion(video, audio)
        print("fused", video.shape)
        token = torch.zeros(1, device=video.device).cuda()
        if words is None:
            raise ValueError("there are no words")
        return self.transformer(video, words) * SCALE + token

    def unused(self):
        return self.first + 1


class Loss(nn.Module):
    def forward(self, outputs):
        return outputs.sum()


def build_model(args):
    device = torch.device(args.device)
    transformer = build_transformer(args)
    model = Finder(transformer, args.width)
    if args.many:
        model.first = False
    criterion = Loss()
    criterion.to(device)
    matcher = build_matcher(args)
    return model, criterion
'''
TRANSFORMER = """\
import torch.nn.functional as F
from torch import nn


def _sharpen(x):
    return x ** 3


class Transformer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Linear(width, width)

    def _attend(self, x, words):
        return F.relu(self.inner(x)) + words.mean(1, keepdim=True)

    def forward(self, x, words):
        return _sharpen(self._attend(x, words))


def build_transformer(args):
    return Transformer(args.width)
"""
FUSION = """\
import torch
from torch import nn


class Fusion(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, video, audio):
        return video + torch.tanh(self.scale) * audio
"""
MATCHER = "def build_matcher(args):\n    return None\n"
SOURCES = {"model.py": MODEL, "transformer.py": TRANSFORMER, "fusion.py": FUSION, "matcher.py": MATCHER}


def write(folder: Path, **changed: str | None) -> Path:
    """The sources in ``folder``, as training has them; ``fusion=None`` leaves that file out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in SOURCES.items():
        own = changed.get(name.removesuffix(".py"), text)
        if own is not None:
            (folder / name).write_text(own, encoding="utf-8")
    return folder


def zipped(path: Path, **changed: str | bytes) -> Path:
    """The same as training leaves it: ``code.zip``, whose root is ``code/``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in SOURCES.items():
            archive.writestr(f"code/{name}", changed.get(name.removesuffix(".py"), text))
    return path


def branch_of(path: Path, name: str = "lab", **facts: object) -> KnownBranch:
    """The code at ``path`` as a known branch."""
    return KnownBranch((name,), frozenset(fingerprint_code(path).parts.values()), **facts)  # pyright: ignore[reportArgumentType]
