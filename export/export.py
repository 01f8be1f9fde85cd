"""From a checkpoint to a certified file: describe, rebuild, capture, compare, and only then write."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from ..runtime.data.prepare import collate
from ..runtime.errors import ExportError, UsageError
from ..runtime.files import new_file
from ..runtime.manifest import Manifest
from ..runtime.model_file import write_manifest_onnx
from ..runtime.session import GateSession
from .checkpoint import load_checkpoint
from .choices import Choices
from .facts import Description, describe
from .manifest import GATE_OUTPUTS, PREDICTIONS, build_manifest
from .onnx_graph import TRACE_LENGTHS, to_onnx
from .parity import certify, random_sample, torch_runner
from .rebuild import rebuild
from .verify import VerifyRequest, verify

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ExportResult:
    """The file that was written and what it says about itself."""

    path: Path
    manifest: Manifest
    bytes: int


def export_checkpoint(
    checkpoint: str | Path,
    output: str | Path | None = None,
    choices: Choices | None = None,
    *,
    verification: VerifyRequest | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> ExportResult:
    """Export the model in ``checkpoint`` to an ONNX file whose gates are outputs.

    ``output`` defaults to the checkpoint's name with ``.onnx``. The file appears at once and whole, after
    it was compared with PyTorch (and, with ``verification``, after PyTorch was compared with the user's own
    predictions); on any failure nothing is written and a file that was there before is left as it was.
    ``tell`` is called with a line for each step.

    Raises any :class:`~gatescope.runtime.errors.CheckpointError` or
    :class:`~gatescope.runtime.errors.ExportError`.
    """
    source, wanted = Path(checkpoint), choices or Choices()
    target = Path(output) if output is not None else source.with_suffix(".onnx")
    _refuse_target(target, source)
    tell(f"reading {source}")
    read = load_checkpoint(source)
    description = describe(read, wanted)
    model = rebuild(description, read.weights)
    tell("capturing the graph")
    proto = to_onnx(model, _example(description), [*PREDICTIONS, *GATE_OUTPUTS.values()])
    manifest = build_manifest(read, description, proto.graph)
    with new_file(target) as partial:
        _write(proto, manifest, partial)
        with GateSession(partial, device="cpu") as session:

            def run(batch: Mapping[str, Floats]) -> Mapping[str, Floats]:
                return session.run(batch).raw

            tell("comparing the file with PyTorch")
            certificate = certify(torch_runner(model), run, manifest)
            if verification is not None:
                tell(f"comparing with the predictions in {verification.predictions}")
                agreement = verify(verification, read, wanted, manifest, run, tell=tell)
                certificate = replace(certificate, verification=agreement)
        manifest = replace(manifest, certificate=certificate)
        _write(proto, manifest, partial)
        size = partial.stat().st_size
    return ExportResult(target, manifest, size)


def _write(proto: onnx.ModelProto, manifest: Manifest, path: Path) -> None:
    write_manifest_onnx(proto, manifest)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _refuse_target(target: Path, source: Path) -> None:
    if target.is_dir():
        raise UsageError(
            f"{target} is a folder", expected="the name of the file to write", fix="--output m.onnx"
        )
    if target.suffix.lower() != ".onnx":
        raise UsageError(f"cannot tell the format of {target}", expected="a name that ends in .onnx")
    if target.exists() and source.exists() and target.samefile(source):
        raise UsageError("the output is the checkpoint itself", fix="choose another --output")
    # Better now than after the graph was captured.
    existing = next(
        folder for folder in (target.absolute().parent, *target.absolute().parents) if folder.exists()
    )
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ExportError(
            f"cannot write {target}",
            received=f"no permission to write in {existing}"
            if existing.is_dir()
            else f"{existing} is not a folder",
            fix="choose an --output you may write",
        )


def _example(description: Description) -> dict[str, torch.Tensor]:
    """Padded inputs at the traced sizes."""
    rng = np.random.default_rng(0)
    batch = collate([random_sample(description.preprocessing, *pair, rng) for pair in TRACE_LENGTHS])
    return {name: torch.from_numpy(array) for name, array in batch.items()}
