"""Exported files for the benchmarks, made side by side and kept for the next time.

An export takes 12 to 17 s, nearly all of it in one thread: so as many run at once as there are cores, and a
file is made again only after a change of what makes it.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

import gatescope.export
import gatescope.runtime
from gatescope.export import Variant, export_checkpoint
from gatescope.runtime.files import new_file
from gatescope.runtime.gates.vocabulary import OutputsKind, Precision
from gatescope.runtime.session.device import available_cpus

from .workload import write_checkpoint

ALL = "all"


@dataclass(frozen=True)
class Export:
    """One file: of which gating's checkpoint, what it returns, in which format, with which rewrites."""

    gating: str
    outputs: OutputsKind = "tracked"
    suffix: str = ".onnx"
    optimize: str = ALL
    precision: Precision = "float32"

    @property
    def file_name(self) -> str:
        """Unique among exports of one version of the code."""
        rewrites = self.optimize
        if len(rewrites) > 40:
            rewrites = hashlib.sha256(rewrites.encode()).hexdigest()[:16]
        return f"{self.gating}-{self.outputs}-{rewrites}-{self.precision}{self.suffix}"


class Exports:
    """Checkpoints and exported files under ``cache``; call :meth:`make` before :meth:`path`."""

    def __init__(self, cache: Path, *, full_size: bool) -> None:
        self.full_size = full_size
        self.folder = cache / f"{'full' if full_size else 'small'}-{_code_hash()}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def checkpoint(self, gating: str) -> Path:
        """The checkpoint of a gating, written on first use."""
        path = self.folder / f"{gating}.ckpt"
        if not path.exists():
            with new_file(path) as unfinished:
                write_checkpoint(unfinished, gating, full_size=self.full_size)
        return path

    def path(self, export: Export) -> Path:
        """Where the file is, or will be."""
        return self.folder / export.file_name

    def make(self, wanted: Sequence[Export], tell: Callable[[str], None]) -> None:
        """Export what is not there yet."""
        missing = [one for one in dict.fromkeys(wanted) if not self.path(one).exists()]
        if not missing:
            return
        for gating in {one.gating for one in missing}:
            self.checkpoint(gating)
        if not self.full_size and len(missing) <= available_cpus():
            # A process of its own starts PyTorch, which takes longer than a small export.
            for one in missing:
                tell(f"exported {_export(self.checkpoint(one.gating), self.path(one), one)}")
            return
        workers = min(available_cpus(), len(missing))
        tell(f"exporting {len(missing)} files, {workers} at a time")
        # Spawned: a process that has run PyTorch's threads must not be forked.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _use_one_core) as pool:
            jobs = [pool.submit(_export, self.checkpoint(one.gating), self.path(one), one) for one in missing]
            for done, job in enumerate(as_completed(jobs), 1):
                tell(f"exported {done} of {len(jobs)}: {job.result()}")


def _use_one_core() -> None:
    torch.set_num_threads(1)


def _export(checkpoint: Path, target: Path, wanted: Export) -> str:
    export_checkpoint(
        checkpoint,
        target,
        variant=Variant(wanted.outputs),
        optimize=wanted.optimize,
        precision=wanted.precision,
    )
    return target.name


def _code_hash() -> str:
    """Of everything that decides what a file contains."""
    digest = hashlib.sha256()
    for room in (gatescope.export, gatescope.runtime):
        root = Path(room.__path__[0])
        for path in sorted(root.rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    for package in ("torch", "onnx", "onnxscript", "onnx-ir"):
        digest.update(version(package).encode())
    return digest.hexdigest()[:16]
