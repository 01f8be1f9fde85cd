"""The tiny model again, as TorchScript and pt2 files: the formulas of :mod:`tiny_model` in PyTorch."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from gatescope.runtime.gates.manifest import METADATA_KEY, Manifest

from .tiny_model import CHANNELS, FACTOR, QUERIES, Gating, tiny_batch, tiny_manifest

Format = Literal["torchscript", "pt2"]


class TinyModel(nn.Module):
    """Takes and gives what ``manifest`` declares, in its order."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__()
        self.manifest = manifest
        self.register_buffer("one", torch.ones(()))

    def forward(
        self,
        src_txt: Tensor | None = None,
        src_txt_mask: Tensor | None = None,
        src_vid: Tensor | None = None,
        src_vid_mask: Tensor | None = None,
        src_aud: Tensor | None = None,
        attention_scale: Tensor | None = None,
        attention_offset: Tensor | None = None,
        ffn_scale: Tensor | None = None,
        ffn_offset: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        here = locals()
        given: dict[str, Tensor] = {name: here[name] for name in self.manifest.input_names}
        strength = given["src_vid"].mean(-1) + given["src_aud"].mean(-1)
        # Created while it runs, on the device of the input: what tracing turns into a constant.
        first = torch.arange(1, max(self.manifest.layers, 1) + 1, device=strength.device)
        steps = (first * self.one).view(1, -1, 1, 1)
        made: dict[str, Tensor] = {}
        source = strength[..., None]
        if self.manifest.gating == "global":
            mask = given["src_vid_mask"]
            source = ((strength * mask).sum(1) / mask.sum(1))[:, None, None]
        elif self.manifest.gating == "elementwise":
            source = given["src_vid"][..., :CHANNELS]
        for kind, factor in FACTOR.items():
            gate = torch.tanh(factor * steps * source[:, None])
            if override := self.manifest.overrides.get(kind):
                gate = given[override.scale] * gate + given[override.offset]
            made[f"gate_{kind}"] = gate
        if self.manifest.outputs_kind != "gates":
            mask = given["src_txt_mask"]
            text = (given["src_txt"].mean(-1) * mask).sum(1) / mask.sum(1)
            q = torch.arange(QUERIES, device=text.device) * self.one
            foreground = text[:, None] * (q + 1)
            made["pred_logits"] = torch.stack([foreground, torch.zeros_like(foreground)], -1)
            edges = torch.stack([(text[:, None] + q) / 2, text[:, None] - q], -1)
            made["pred_spans"] = edges.sigmoid()
            made["saliency_scores"] = strength * (1 + text[:, None]) * given["src_vid_mask"]
        return tuple(made[name] for name in self.manifest.output_names)


class Positional(nn.Module):
    """The same, called by position."""

    def __init__(self, model: TinyModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.model(**dict(zip(self.model.manifest.input_names, inputs, strict=True)))


def tiny_torch(
    path: Path, format: Format, gating: Gating = "clipwise", layers: int = 2, **manifest: Any
) -> Manifest:
    """Write the model to ``path``; takes what :func:`tiny_manifest` takes and returns its manifest."""
    made = replace(tiny_manifest(gating, layers, **manifest), format=format, opset=None)
    save(path, made)
    return made


def save(path: Path, made: Manifest, *, document: str | None = None) -> None:
    """Write the model of ``made``; ``document`` replaces its manifest, "" leaves it out."""
    arrays = tiny_batch(made, clips=(5, 3), words=(4, 2))
    lengths = {"batch": 2, "clip": 5, "channel": CHANNELS}
    for tensor in made.inputs:
        if tensor.name in made.override_names:
            shape = [axis if isinstance(axis, int) else lengths[axis] for axis in tensor.axes]
            arrays[tensor.name] = np.ones(shape, np.float32)
    batch = {name: torch.from_numpy(arrays[name]) for name in made.input_names}
    document = made.to_json() if document is None else document
    extra = {METADATA_KEY: document} if document else {}
    model = TinyModel(made).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if made.format == "torchscript":
            traced = torch.jit.trace(Positional(model), tuple(batch.values()))
            torch.jit.save(traced, str(path), _extra_files=extra)
        else:
            dynamic = {
                tensor.name: {
                    i: torch.export.Dim.DYNAMIC
                    for i, axis in enumerate(tensor.axes)
                    if isinstance(axis, str) and axis != "channel"
                }
                for tensor in made.inputs
            }
            program = torch.export.export(model, (), kwargs=batch, dynamic_shapes=dynamic)
            torch.export.save(program, path, extra_files=extra)
