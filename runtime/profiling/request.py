"""What to profile and how, and everything that is refused before anything is measured."""

from __future__ import annotations

import math
import os
import shlex
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from ..errors import MissingExtraError, UsageError
from ..gates.manifest import Manifest
from ..inspection.identify import identify
from ..runs.info import read_info
from ..session.device import DeviceOptions
from ..session.model_file import file_sha256, read_manifest
from .lengths import Lengths, alike, lengths_of_annotations
from .timing import Budget

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
# Beyond these a number is a slip of the finger.
_MOST = 1_000_000
_MOST_CALLERS = 1_000


@dataclass(frozen=True)
class ProfileRequest:
    """What to measure.

    - ``batch_sizes``: samples in a batch. ``clips``, ``words``: lengths of all samples, by default the most
      the model was trained on; or ``annotations``: a file whose queries give the lengths.
    - ``wanted``: the device, the CPUs it may use and its options.
    - ``concurrency``: threads that call the session at once. ``budget``: how long each row and each side of a
      comparison takes.
    - ``checkpoint``: the file the model was exported from, to compare with PyTorch.
    """

    model: Path
    wanted: DeviceOptions = field(default_factory=DeviceOptions)
    batch_sizes: tuple[int, ...] = BATCH_SIZES
    clips: tuple[int, ...] = ()
    words: int | None = None
    annotations: Path | None = None
    concurrency: int = 1
    budget: Budget = field(default_factory=Budget)
    checkpoint: Path | None = None


def check_request(request: ProfileRequest) -> tuple[Manifest, tuple[Lengths, ...]]:
    """The model's manifest and the lengths to measure at.

    Raises :class:`~gatescope.runtime.errors.UsageError` for numbers below 1, a checkpoint or run folder in
    the model's place, lengths the model cannot take and a checkpoint it was not exported from; what reading
    the model or the annotations raises; and :class:`~gatescope.runtime.errors.MissingExtraError` where
    PyTorch is needed and not installed.
    """
    _check_numbers(request)
    _refuse_others(request.model)
    manifest = read_manifest(request.model)
    lengths = _lengths(request, manifest)
    if request.checkpoint is not None:
        _check_checkpoint(request.checkpoint, request.model, manifest)
    return manifest, lengths


def refuse_output(folder: Path) -> None:
    """Raises :class:`UsageError` where nothing can be written: better now than after a minute's measuring."""
    existing = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    if not existing.is_dir():
        raise UsageError(
            f"cannot write into {folder}",
            received=f"{existing} is not a folder",
            expected="a folder, or a name for a new one",
            fix="choose another --output",
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(
            f"cannot write into {folder}",
            received=f"no permission to write in {existing}",
            fix="choose an --output you may write",
        )


def _check_numbers(request: ProfileRequest) -> None:
    numbers = {
        "--batch-size": request.batch_sizes,
        "--clips": request.clips,
        "--words": (request.words,),
        "--concurrency": (request.concurrency,),
        "--repeats": (request.budget.repeats,),
    }
    for flag, values in numbers.items():
        most = _MOST_CALLERS if flag == "--concurrency" else _MOST
        wrong = [value for value in values if value is not None and not 1 <= value <= most]
        if wrong:
            raise UsageError(f"{flag} makes no sense", received=str(wrong[0]), expected=f"1 to {most:,}")
    if not request.batch_sizes:
        raise UsageError("there are no batch sizes to measure", expected="at least one")
    if not 0 < request.budget.seconds < math.inf:
        raise UsageError("--seconds must be a positive number", received=f"{request.budget.seconds:g}")


def _refuse_others(path: Path) -> None:
    """A checkpoint or a run folder where the model should be: say which command takes it."""
    if not path.exists():
        return  # reading the model says so
    if path.is_dir():
        kind = identify(path)
        if kind == "results":
            raise UsageError(
                f"{path} is a training's results folder, not a model",
                expected="a file that 'gatescope export' wrote",
                fix=f"gatescope export {shlex.quote(str(path))} --output m.onnx, then profile m.onnx",
            )
        if kind == "run":
            raise UsageError(
                f"{path} is a run folder, not a model",
                expected="a file that 'gatescope export' wrote",
                fix=shlex.join(["gatescope", "profile", read_info(path).model.path]),
            )
        return
    if identify(path) == "checkpoint":
        raise UsageError(
            f"{path} is a checkpoint, not an exported model",
            expected="a file that 'gatescope export' wrote",
            fix=f"gatescope export --checkpoint {shlex.quote(str(path))} --output m.onnx, then "
            f"gatescope profile m.onnx --checkpoint {shlex.quote(str(path))}",
        )


def _lengths(request: ProfileRequest, manifest: Manifest) -> tuple[Lengths, ...]:
    recipe = manifest.preprocessing
    takes_text = "src_txt" in manifest.input_names
    if request.annotations is not None:
        given = [flag for flag, value in (("--clips", request.clips), ("--words", request.words)) if value]
        if given:
            raise UsageError(
                f"{' and '.join(given)} next to --annotations",
                expected="one of the two: the annotations decide the lengths",
                fix=f"leave out {' and '.join(given)}, or --annotations",
            )
        return (lengths_of_annotations(request.annotations, recipe),)
    if request.words is not None and not takes_text:
        raise UsageError(
            "--words for a graph that takes no text",
            received=f"inputs {', '.join(manifest.input_names)}",
            fix="leave --words out",
        )
    words = recipe.max_q_l if request.words is None else request.words
    positions = manifest.facts.get("text_positions")
    if positions is not None and positions.value is True and words > recipe.max_q_l:
        raise UsageError(
            "this model has learned positions for fewer words",
            received=f"--words {words}",
            expected=f"at most {recipe.max_q_l}",
        )
    every = dict.fromkeys(request.clips or (recipe.max_v_l,))
    return tuple(alike(clips, words, text=takes_text) for clips in every)


def _check_checkpoint(checkpoint: Path, model: Path, manifest: Manifest) -> None:
    if manifest.family == "user":
        raise UsageError(
            f"{model} was exported with a model of your own code, which gatescope cannot build again",
            received=f"--checkpoint {checkpoint}",
            fix="leave --checkpoint out",
        )
    if not checkpoint.is_file():
        raise UsageError(
            f"there is no checkpoint {checkpoint}"
            if not checkpoint.exists()
            else f"{checkpoint} is not a file",
            expected=f"the file that {model} was exported from",
        )
    found = file_sha256(checkpoint)
    if found != manifest.checkpoint_sha256:
        raise UsageError(
            f"{model} was not exported from {checkpoint}",
            received=f"a file with SHA-256 {found}",
            expected=f"SHA-256 {manifest.checkpoint_sha256}",
            fix="give the checkpoint it was exported from, or export the model again",
        )
    if find_spec("torch") is None:
        raise MissingExtraError("torch", "export")
