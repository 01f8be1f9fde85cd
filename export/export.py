"""From a checkpoint to a certified file: describe, rebuild, capture, compare, and only then write."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from ..runtime.array_types import Float32s
from ..runtime.brief import brief
from ..runtime.errors import ExportError, UsageError
from ..runtime.files import local, new_file
from ..runtime.gates.manifest import Manifest
from ..runtime.gates.vocabulary import FileFormat, Precision
from ..runtime.profiling.samples import random_batch
from ..runtime.session.model_file import write_manifest_onnx
from ..runtime.session.session import GateSession
from ..runtime.torch_range import untested_torch
from .families.choices import Choices
from .graph.archives import save_pt2, save_torchscript, to_torchscript
from .graph.capture import TRACE_LENGTHS, capture
from .graph.manifest import build_manifest
from .graph.onnx_graph import OPSET, to_onnx
from .graph.variant import OVERRIDES, Variant, VariantGraph
from .optimize import choose_rewrites
from .optimize import optimize as optimized
from .proof.parity import OWN_MODEL, TOLERANCES, certify
from .proof.subject import CheckpointSubject, Graph
from .proof.verify import Verified, VerifyRequest, refuse_bad_request, verify
from .reading.checkpoint import load_checkpoint
from .reading.facts import describe
from .reading.left_behind import find_predictions
from .reading.rebuild import rebuild


@dataclass(frozen=True)
class ExportResult:
    """The file that was written and what it says about itself.

    ``left_behind``: predictions that lie next to the checkpoint, for a file that was not verified.
    """

    path: Path
    manifest: Manifest
    bytes: int
    left_behind: Path | None = None

    def __repr__(self) -> str:
        return brief(self)


# What a format's files are called.
SUFFIXES: dict[FileFormat, tuple[str, ...]] = {
    "onnx": (".onnx",),
    "torchscript": (".ts", ".torchscript", ".pt"),
    "pt2": (".pt2",),
}
OPSETS = range(18, 23)


def export_checkpoint(
    checkpoint: str | Path,
    output: str | Path | None = None,
    choices: Choices | None = None,
    *,
    variant: Variant | None = None,
    file_format: FileFormat | None = None,
    opset: int = OPSET,
    optimize: str = "all",
    precision: Precision = "float32",
    verification: VerifyRequest | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> ExportResult:
    """Export the model in ``checkpoint`` to a file whose gates are outputs.

    - ``output`` defaults to the checkpoint's name with the format's suffix; ``file_format`` to what the
      output's suffix says, else ONNX. ``opset``: 18 to 22, of ONNX files.
    - ``variant``: what the graph returns and takes; by default predictions and gates.
    - ``optimize``: the rewrites that make it faster: ``all``, ``none``, or names of
      :data:`~gatescope.export.optimize.REWRITES` separated by commas. Whichever they are, the file is
      compared with the model before any of them.
    - ``precision``: ``float16`` computes in half precision, for GPUs; inputs and outputs stay float32. The
      error this causes in each output is measured and kept in the file's certificate.
    - ``verification``: predictions of the training run that the model must reproduce.
    - ``tell`` is called with a line for each step.

    The file appears at once and whole, after it was compared with PyTorch (and with ``verification``, after
    the model was compared with the user's own predictions); on any failure nothing is written and a file that
    was there before is left as it was. Raises any :class:`~gatescope.runtime.errors.CheckpointError` or
    :class:`~gatescope.runtime.errors.ExportError`.
    """
    source, wanted = local(checkpoint), choices or Choices()
    target, kind = choose_target(source, output, file_format, opset)
    tell(f"reading {source}")
    read = load_checkpoint(source)
    description = describe(read, wanted)
    model = rebuild(description, read.weights)
    graph = VariantGraph(model, variant or Variant())
    faster, applied = optimized(model, choose_rewrites(optimize))
    captured = VariantGraph(faster, graph.variant, precision)
    manifest = build_manifest(
        read,
        description,
        graph,
        kind,
        opset if kind == "onnx" else None,
        precision=precision,
        rewrites=applied,
    )
    certify_with = None
    if verification is not None:
        refuse_bad_request(verification, manifest)
        certify_with = partial(verify, verification, CheckpointSubject(read), wanted, graph.variant)
    result = write_certified(
        graph,
        manifest,
        target,
        captured=captured,
        verification=certify_with,
        open_questions=description.open_questions,
        tell=tell,
    )
    return result if verification is not None else replace(result, left_behind=find_predictions(source))


def write_certified(
    graph: Graph,
    manifest: Manifest,
    target: Path,
    *,
    captured: Graph | None = None,
    compared_with: str = OWN_MODEL,
    verification: Callable[..., Verified] | None = None,
    open_questions: Collection[str] = (),
    tell: Callable[[str], None],
) -> ExportResult:
    """Capture ``graph``, compare the file with it, and only then let the file appear at ``target``.

    ``captured`` is what goes into the file where that is another way to the same numbers. ``verification``
    is called with the manifest, a function that runs the file, and ``tell``; it settles the warnings in
    ``open_questions``.
    """
    if note := untested_torch():
        manifest = replace(manifest, warnings=(*manifest.warnings, note))
    tell("capturing the graph")
    write = _writer(captured or graph, _example(manifest, graph), manifest)
    with new_file(target) as unfinished:
        write(manifest, unfinished)
        with GateSession(unfinished, device="cpu") as session:

            def run(batch: Mapping[str, Float32s]) -> Mapping[str, Float32s]:
                return session.run(batch).raw

            tell("comparing the file with PyTorch")
            atol = TOLERANCES[manifest.precision]
            certificate = certify(graph.run, run, manifest, compared_with=compared_with, atol=atol)
            if verification is not None:
                tell("comparing with the predictions of the training run")
                found = verification(manifest, run, tell=tell)
                certificate = replace(
                    certificate, verification=found.verification, batching_effect=found.batching_effect
                )
                left = tuple(warning for warning in manifest.warnings if warning not in open_questions)
                manifest = replace(manifest, warnings=left)
        manifest = replace(manifest, certificate=certificate)
        if manifest.forward is not None and manifest.forward.source == "assumed" and certificate.verification:
            manifest = replace(manifest, forward=replace(manifest.forward, source="family"))
        write(manifest, unfinished)
        size = unfinished.stat().st_size
    return ExportResult(target, manifest, size)


def _writer(
    graph: Graph, example: dict[str, torch.Tensor], manifest: Manifest
) -> Callable[[Manifest, Path], None]:
    """Capture ``graph`` once; what comes back writes it with a manifest, as often as needed."""
    module = cast(nn.Module, graph)
    if manifest.format == "torchscript":
        traced = to_torchscript(module, example)
        return lambda manifest, path: save_torchscript(traced, manifest, path)
    if manifest.format == "pt2":
        program = capture(module, example, graph.input_axes)
        return lambda manifest, path: save_pt2(program, manifest, path)
    # Captured with axes of length one, an override has no part in any length the graph computes, and
    # broadcasts at whatever size it is fed.
    scales = {override.scale for override in OVERRIDES.values()} & set(example)
    offsets = {override.offset for override in OVERRIDES.values()} & set(example)
    neutral = {name: example[name][:1, :, :1, :1] * 0 + float(name in scales) for name in scales | offsets}
    axes = graph.input_axes | {name: tuple(value.shape) for name, value in neutral.items()}
    program = capture(module, example | neutral, axes)
    defaults = {name: value.numpy() for name, value in neutral.items()}
    proto = to_onnx(
        program, list(example), list(graph.output_axes), defaults=defaults, opset=manifest.opset or OPSET
    )

    def write(manifest: Manifest, path: Path) -> None:
        write_manifest_onnx(proto, manifest)
        path.write_bytes(proto.SerializeToString(deterministic=True))

    return write


def choose_target(
    source: Path, output: str | Path | None, file_format: FileFormat | None, opset: int
) -> tuple[Path, FileFormat]:
    """Where to write and in which format, from what was given of the two.

    Raises before any work is done where that cannot be: :class:`~gatescope.runtime.errors.UsageError` or
    :class:`~gatescope.runtime.errors.ExportError`.
    """
    if opset not in OPSETS:
        raise UsageError(
            f"opset {opset} is not supported", expected=f"{OPSETS[0]} to {OPSETS[-1]} (default {OPSET})"
        )
    target, kind = _target(source, output, file_format)
    _refuse_target(target, source)
    return target, kind


def _target(
    source: Path, output: str | Path | None, file_format: FileFormat | None
) -> tuple[Path, FileFormat]:
    if output is None:
        kind = file_format or "onnx"
        return source.with_suffix(SUFFIXES[kind][0]), kind
    target = local(output)
    suffix = target.suffix.lower()
    by_suffix: FileFormat | None = None
    for one, suffixes in SUFFIXES.items():
        if suffix in suffixes:
            by_suffix = one
    kind = file_format or by_suffix
    if kind is None or (by_suffix is not None and by_suffix != kind):
        expected = SUFFIXES[kind] if kind else [one for suffixes in SUFFIXES.values() for one in suffixes]
        raise UsageError(
            f"cannot tell the format of {target}"
            if kind is None
            else f"{target} is not named like a {kind} file",
            expected=f"a name that ends in {' or '.join(expected)}",
            fix="change --output, or say --format",
        )
    return target, kind


def _refuse_target(target: Path, source: Path) -> None:
    if target.is_dir():
        raise UsageError(
            f"{target} is a folder", expected="the name of the file to write", fix="--output m.onnx"
        )
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


def _example(manifest: Manifest, graph: Graph) -> dict[str, torch.Tensor]:
    """Padded inputs at the traced sizes, in the graph's order."""
    rng = np.random.default_rng(0)
    batch = random_batch(manifest.preprocessing, TRACE_LENGTHS, rng)
    lengths = {"batch": len(TRACE_LENGTHS), "clip": max(clips for clips, _ in TRACE_LENGTHS)}
    for name, axes in graph.input_axes.items():
        if name not in batch:
            shape = [lengths[axis] if isinstance(axis, str) else axis for axis in axes]
            batch[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return {name: torch.from_numpy(batch[name]) for name in graph.input_axes}
