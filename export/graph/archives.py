"""TorchScript and pt2 files: a model with its manifest among the archive's extra files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from ...runtime.gates.manifest import METADATA_KEY, Manifest
from .capture import quiet, refuse_training_mode
from .failure import failed_in


class _ByPosition(nn.Module):
    """A model called by keyword, as one called by position: TorchScript is traced that way."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)
        self.eval()

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return self.model(**dict(zip(self.names, tensors, strict=True)))


def to_torchscript(model: nn.Module, example: Mapping[str, Tensor]) -> torch.jit.ScriptModule:
    """Trace ``model`` on ``example``; the result takes the same tensors by position, in that order.

    Raises :class:`~gatescope.runtime.errors.ExportError` where a submodule is in training mode or tracing
    fails.
    """
    refuse_training_mode(model)
    try:
        with quiet(), torch.no_grad():
            traced: Any = torch.jit.trace(
                _ByPosition(model, list(example)), tuple(example.values()), check_trace=False
            )
            return traced
    except Exception as error:  # tracing raises whatever failed inside
        raise failed_in(model, "it was traced", error) from error


def save_torchscript(module: torch.jit.ScriptModule, manifest: Manifest, path: Path) -> None:
    """Write a traced model and its manifest, without PyTorch's record of whose source files it came from."""
    saved = io.BytesIO()
    with quiet():
        torch.jit.save(module, saved, _extra_files={METADATA_KEY: manifest.to_json()})
    with zipfile.ZipFile(saved) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as kept:
        for entry in whole.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                kept.writestr(entry, whole.read(entry), zipfile.ZIP_STORED)


def save_pt2(program: ExportedProgram, manifest: Manifest, path: Path) -> None:
    """Write a captured program and its manifest."""
    saved = io.BytesIO()  # PyTorch's own writer ends the process where a disk is full
    with quiet():
        torch.export.save(program, saved, extra_files={METADATA_KEY: manifest.to_json()})
    path.write_bytes(saved.getbuffer())
