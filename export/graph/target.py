"""Where an export writes, in which format, and with which opset: decided before any work is done."""

from __future__ import annotations

import os
from pathlib import Path

from ...runtime.errors import ExportError, UsageError
from ...runtime.files import local
from ...runtime.gates.vocabulary import FileFormat
from ..graph.onnx_graph import OPSET
from ..reading.refusals import mistaken

# What a format's files are called.
_SUFFIXES: dict[FileFormat, tuple[str, ...]] = {
    "onnx": (".onnx",),
    "torchscript": (".ts", ".torchscript", ".pt"),
    "pt2": (".pt2",),
}
_OPSETS = range(18, 23)


def choose_target(
    source: Path, output: str | Path | None, file_format: FileFormat | None, opset: int
) -> tuple[Path, FileFormat]:
    """Where to write and in which format, from what was given of the two.

    Raises before any work is done where that cannot be: :class:`~gatescope.runtime.errors.UsageError`,
    :class:`~gatescope.runtime.errors.ExportError`, or
    :class:`~gatescope.runtime.errors.CheckpointError` for an exported model that would be exported again.
    """
    if opset not in _OPSETS:
        raise UsageError(
            f"opset {opset} is not supported", expected=f"{_OPSETS[0]} to {_OPSETS[-1]} (default {OPSET})"
        )
    target, kind = _target(source, output, file_format)
    _refuse_target(target, source)
    return target, kind


def _target(
    source: Path, output: str | Path | None, file_format: FileFormat | None
) -> tuple[Path, FileFormat]:
    if output is None:
        kind = file_format or "onnx"
        return source.with_suffix(_SUFFIXES[kind][0]), kind
    target = local(output)
    suffix = target.suffix.lower()
    by_suffix: FileFormat | None = None
    for one, suffixes in _SUFFIXES.items():
        if suffix in suffixes:
            by_suffix = one
    kind = file_format or by_suffix
    if kind is None or (by_suffix is not None and by_suffix != kind):
        expected = _SUFFIXES[kind] if kind else [one for suffixes in _SUFFIXES.values() for one in suffixes]
        raise UsageError(
            f"the format of {target} is not known"
            if kind is None
            else f"{target} is not named like a {kind} file",
            expected=f"a name that ends in {' or '.join(expected)}",
            fix="change --output, or give --format",
        )
    return target, kind


def _refuse_target(target: Path, source: Path) -> None:
    if target.is_dir():
        raise UsageError(
            f"{target} is a folder", expected="the name of the file to write", fix="--output m.onnx"
        )
    if target.exists() and source.exists() and target.samefile(source):
        if (other := mistaken(source)) is not None:
            raise other
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
