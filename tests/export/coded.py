"""The code of a small training as it lies in ``code.zip``: the inside of its package, under ``code/``.

Like the real one it imports itself as ``qd_detr``, has a matcher that needs a package which only the loss
calls, and scripts that must not run.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from gatescope.export.user.apart.stubs import MountFinder

OPTIONS: dict[str, Any] = {
    "v_feat_dim": 4,
    "a_feat_dim": 5,
    "t_feat_dim": 6,
    "width": 8,
    "layers": 2,
    "ctx_mode": "video_tef",
    "max_v_l": 20,
    "max_q_l": 8,
    "eval_bsz": 4,
    "v_feat_dirs": ["slowfast_features", "clip_features"],
    "a_feat_dir": "pann_features",
    "t_feat_dir": "clip_text_features",
}
MATCHER = """
import torch
from torch.utils.tensorboard import SummaryWriter
from absent_solver.optimize import assign
from qd_detr.span_words import words


class Matcher(torch.nn.Module):
    def forward(self, outputs, targets):
        return assign(outputs, targets)


def build_matcher(args):
    return Matcher()
"""
FUSION = """
import torch
from torch import nn


def perceptron(width, out):
    return nn.Sequential(nn.Linear(width, out), nn.ReLU(), nn.Linear(out, out))


class Valve(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.one = perceptron(2 * width, 1)
        self.two = perceptron(2 * width, 1)

    def forward(self, v, a):
        joint = torch.cat([v, a], -1)
        return torch.tanh(self.one(joint)), torch.tanh(self.two(joint))


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.valve = Valve(width)
        self.ffn = perceptron(width, width)

    def forward(self, v, a):
        loud, quiet = self.valve(v, a)
        v = v + loud * a
        return v + quiet * self.ffn(v)


class Fusion(nn.Module):
    def __init__(self, width, layers):
        super().__init__()
        self.layers = nn.ModuleList(Layer(width) for _ in range(layers))

    def forward(self, v, a):
        for layer in self.layers:
            v = layer(v, a)
        return v
"""
MODEL = """
import torch
from torch import nn

from qd_detr.fusion import Fusion
from qd_detr.matcher import build_matcher


class Model(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.video = nn.Linear(args.v_feat_dim, args.width)
        self.audio = nn.Linear(args.a_feat_dim, args.width)
        self.text = nn.Linear(args.t_feat_dim, args.width)
        self.fusion = Fusion(args.width, args.layers)
        self.classes = nn.Linear(args.width, 6)
        self.spans = nn.Linear(args.width, 6)

    def forward(self, src_txt, src_txt_mask, src_vid, src_vid_mask, src_aud=None, src_aud_mask=None):
        words = (self.text(src_txt) * src_txt_mask[..., None]).sum(1) / src_txt_mask.sum(1, keepdim=True)
        start = torch.zeros(src_vid.shape[0], 1).cuda()
        x = self.fusion(self.video(src_vid), self.audio(src_aud)) + words[:, None]
        pooled = (x * src_vid_mask[..., None]).sum(1) / src_vid_mask.sum(1, keepdim=True) + start
        return {
            "pred_logits": self.classes(pooled).view(-1, 3, 2),
            "pred_spans": self.spans(pooled).view(-1, 3, 2).sigmoid(),
            "saliency_scores": x.mean(-1),
        }


class Criterion(nn.Module):
    def __init__(self, matcher):
        super().__init__()
        self.matcher = matcher
        self.register_buffer("empty_weight", torch.ones(2))


def build_model(args):
    model = Model(args)
    criterion = Criterion(build_matcher(args))
    return model, criterion
"""
TRAIN = """
from qd_detr.config import options
from qd_detr.model import build_model

raise RuntimeError("training was started")
"""
SOURCES = {
    "__init__.py": "",
    "matcher.py": MATCHER,
    "fusion.py": FUSION,
    "model.py": MODEL,
    "train.py": TRAIN,
    "config.py": "import easydict_absent\n\nraise RuntimeError('options were parsed')\n",
}


def zipped(path: Path, files: Mapping[str, str | bytes] | None = None, **changes: str) -> Path:
    """Write ``files`` (by default the code, with modules of these names instead) as training zips them."""
    every = files or {f"code/{name}": text for name, text in changed(**changes).items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in every.items():
            archive.writestr(name, content)
    return path


def changed(**changes: str) -> dict[str, str]:
    """The sources with other texts; ``model="…"`` is ``model.py``."""
    return SOURCES | {f"{name}.py": text for name, text in changes.items()}


def unzipped(folder: Path, sources: Mapping[str, str] | None = None) -> Path:
    """Write the sources into ``folder`` as they lie in the repository's package."""
    for name, text in (sources or SOURCES).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@contextmanager
def imports_restored() -> Iterator[None]:
    """What is imported inside, and how, is forgotten afterwards."""
    finders, modules = list(sys.meta_path), set(sys.modules)
    try:
        yield
    finally:
        sys.meta_path[:] = finders
        for name in set(sys.modules) - modules:
            if name.partition(".")[0] in ("qd_detr", "trained_code", "absent_solver"):
                del sys.modules[name]


def built(folder: Path) -> torch.nn.Module:
    """The model of the sources in ``folder``, drawn with a fixed seed; the loss's modules stay out."""
    lone = unzipped(folder, {"fusion.py": FUSION, "model.py": MODEL.replace("from qd_detr.matcher", "# ")})
    with imports_restored():
        sys.meta_path.insert(0, MountFinder({"qd_detr": lone}))
        module = importlib.import_module("qd_detr.model")
        torch.manual_seed(0)
        return module.Model(argparse.Namespace(**OPTIONS)).eval()


def save(path: Path, model: torch.nn.Module, **options: Any) -> Path:
    """A checkpoint of ``model`` as training leaves it."""
    opt = argparse.Namespace(**{**OPTIONS, **options})
    torch.save({"model": model.state_dict(), "epoch": 3, "opt": opt}, path)
    return path
