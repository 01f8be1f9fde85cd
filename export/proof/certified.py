"""Writing a file only after it was compared with the model it was captured from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from ...runtime.array_types import Float32s
from ...runtime.brief import brief
from ...runtime.files import new_file
from ...runtime.gates.manifest import Manifest
from ...runtime.gates.preprocessing import Preprocessing
from ...runtime.profiling.samples import random_batch
from ...runtime.session.model_file import write_manifest_onnx
from ...runtime.session.session import GateSession
from ...runtime.torch_range import untested_torch
from ..graph.archives import save_pt2, save_torchscript, to_torchscript
from ..graph.capture import TRACE_LENGTHS, capture
from ..graph.lengths import assumed_lengths
from ..graph.onnx_graph import OPSET, to_onnx
from ..graph.variant import OVERRIDES, Axes
from ..proof.parity import OWN_MODEL, TOLERANCES, RunFeed, certify
from ..proof.subject import Graph
from ..proof.verify import Verified


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


def write_certified(
    graph: Graph,
    manifest: Manifest,
    target: Path,
    *,
    captured: Graph | None = None,
    compared_with: str = OWN_MODEL,
    verification: Callable[[Manifest, RunFeed], Verified] | None = None,
    open_questions: Collection[str] = (),
    tell: Callable[[str], None],
) -> ExportResult:
    """Capture ``graph``, compare the file with it, and only then let the file appear at ``target``.

    ``captured`` is what goes into the file where that is another way to the same numbers. ``verification``
    is called with the manifest and a function that runs the file; it settles the warnings in
    ``open_questions``.
    """
    if note := untested_torch():
        manifest = replace(manifest, warnings=(*manifest.warnings, note))
    tell("capturing the graph")
    write, assumed = _writer(captured or graph, manifest)
    with new_file(target) as unfinished:
        write(manifest, unfinished)
        with GateSession(unfinished, device="cpu") as session:

            def run(batch: Mapping[str, Float32s]) -> Mapping[str, Float32s]:
                return session.run(batch).raw

            tell("comparing the file with PyTorch")
            atol = TOLERANCES[manifest.precision]
            certificate = certify(
                graph.run, run, manifest, compared_with=compared_with, atol=atol, assumed_clips=assumed
            )
            if verification is not None:
                found = verification(manifest, run)
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


def _writer(graph: Graph, manifest: Manifest) -> tuple[Callable[[Manifest, Path], None], int]:
    """Capture ``graph`` once; what comes back writes it with a manifest, as often as needed.

    And the number of clips that the capture took for granted, 1 where it took nothing.
    """
    example = _example(manifest, graph)
    longer = _example(manifest, graph, _long_lengths(manifest.preprocessing))
    module = cast(nn.Module, graph)
    if manifest.format == "torchscript":
        traced = to_torchscript(module, example)
        return lambda manifest, path: save_torchscript(traced, manifest, path), 1
    if manifest.format == "pt2":
        program = capture(module, example, graph.input_axes, longer)
        assumed = _assumed_clips(program, graph.input_axes)
        return lambda manifest, path: save_pt2(program, manifest, path), assumed
    # Captured with axes of length one, an override has no part in any length the graph computes, and
    # broadcasts at whatever size it is fed.
    scales = {override.scale for override in OVERRIDES.values()} & set(example)
    offsets = {override.offset for override in OVERRIDES.values()} & set(example)
    neutral = {name: example[name][:1, :, :1, :1] * 0 + float(name in scales) for name in scales | offsets}
    axes = graph.input_axes | {name: tuple(value.shape) for name, value in neutral.items()}
    program = capture(module, example | neutral, axes, longer | neutral)
    defaults = {name: value.numpy() for name, value in neutral.items()}
    proto = to_onnx(
        program, list(example), list(graph.output_axes), defaults=defaults, opset=manifest.opset or OPSET
    )

    def write(manifest: Manifest, path: Path) -> None:
        write_manifest_onnx(proto, manifest)
        path.write_bytes(proto.SerializeToString(deterministic=True))

    return write, _assumed_clips(program, axes)


def _assumed_clips(program: ExportedProgram, axes: Mapping[str, Axes]) -> int:
    return assumed_lengths(program, axes).get("clip", (1, None))[0]


def _long_lengths(recipe: Preprocessing) -> tuple[tuple[int, int], ...]:
    """Clips and words of a batch as long as the recipe allows; three axes of different lengths."""
    clips, words = recipe.max_v_l, max(5, recipe.max_q_l)
    clips = clips + 1 if clips == words else clips
    return (clips, words), (max(1, clips // 2), 2), (max(1, clips // 3), 3)


def _example(
    manifest: Manifest, graph: Graph, traced: tuple[tuple[int, int], ...] = TRACE_LENGTHS
) -> dict[str, torch.Tensor]:
    """Padded inputs at the traced sizes, in the graph's order."""
    rng = np.random.default_rng(0)
    batch = random_batch(manifest.preprocessing, traced, rng)
    lengths = {"batch": len(traced), "clip": max(clips for clips, _ in traced)}
    for name, axes in graph.input_axes.items():
        if name not in batch:
            shape = [lengths[axis] if isinstance(axis, str) else axis for axis in axes]
            batch[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return {name: torch.from_numpy(batch[name]) for name in graph.input_axes}
