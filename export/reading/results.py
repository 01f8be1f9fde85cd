"""The results folder of a training run: which checkpoint, and what else of it lies there or was recorded.

Training leaves ``model_best.ckpt``, ``model_latest.ckpt`` and ``model_e0049.ckpt`` …, ``opt.json``, logs,
predictions with their metrics, and the code that trained (``code.zip``); its options know the annotations and
the features. So the folder is all that has to be named. What is found, and what is not, is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...runtime.brief import brief
from ...runtime.data.dataset import FeatureSources
from ...runtime.errors import CheckpointError, UsageError
from ...runtime.files import local
from .checkpoint import OPTIONS_FILE, Checkpoint, load_checkpoint
from .code import CODE_FILE, find_code
from .left_behind import Left, left_by
from .recorded import ANNOTATIONS, AUDIO, TEXT, VIDEO, find_recorded

ENDINGS = (".ckpt", ".pth", ".pt")
_EPOCH = re.compile(r"_e(\d+)$")
# In which order a checkpoint is taken where none is named.
_STATES = ("best", "latest")
# What tells training's folder from any other.
_TRACES = (OPTIONS_FILE, CODE_FILE, "train.log.txt", "eval.log.txt")


@dataclass(frozen=True)
class ResultsFolder:
    """A training run's folder, and what is taken of it.

    - ``checkpoint``: the file taken, read as ``read``; ``checkpoints``: all of them, best first, then latest,
      then epochs in order.
    - ``left``: the predictions that this very checkpoint made, and training's metrics of them.
    - ``annotations``: the queries training evaluated on, None where they are not here; ``asked``: whether the
      user named the file. ``sources``: where features lie, as far as that is known.
    - ``code``: ``code.zip``, or the folder itself where modules of the model lie in it; None for neither.
    - ``missing``: what training recorded that is not here, by the option's name.
    """

    folder: Path
    checkpoint: Path
    read: Checkpoint
    checkpoints: tuple[Path, ...]
    left: Left
    annotations: Path | None
    asked: bool
    sources: FeatureSources
    code: Path | None
    missing: dict[str, str]
    how: dict[str, str]

    def __repr__(self) -> str:
        return brief(self)

    @property
    def options(self) -> dict[str, Any]:
        """Training's options; empty where none were recorded."""
        return self.read.options

    @property
    def said(self) -> list[str]:
        """What was found and what is taken, one line each, for people."""
        others = [path.name for path in self.checkpoints if path != self.checkpoint]
        epoch = self.read.content.get("epoch")
        lines = [
            f"checkpoint: {self.checkpoint.name}"
            + (f", epoch {epoch}" if isinstance(epoch, int) else "")
            + (f" (--checkpoint NAME takes another: {', '.join(_shortened(others))})" if others else "")
        ]
        options = {"opt": "inside the checkpoint", OPTIONS_FILE: OPTIONS_FILE, None: "none found"}
        lines.append(f"options: {options[self.read.options_source]}")
        lines.append(f"annotations: {self._told(ANNOTATIONS, self.annotations)}")
        lines += self._told_sources()
        lines.append(f"predictions: {self.left.said}")
        lines.append(f"code: {'none found' if self.code is None else self.code.name}")
        return lines

    def _told(self, option: str, path: Path | None) -> str:
        if path is not None:
            return f"{path} ({self.how.get(option, 'given')})"
        if option in self.missing:
            return f"not here: {self.missing[option]}"
        return "not recorded"

    def _told_sources(self) -> list[str]:
        audio, text = ((one,) if one else () for one in (self.sources.audio, self.sources.text))
        known = (("video", VIDEO, self.sources.video), ("audio", AUDIO, audio), ("text", TEXT, text))
        lines: list[str] = []
        for name, option, folders in known:
            where = f"{', '.join(map(str, folders))} ({self.how.get(option, 'given')})"
            root = self.sources.root
            absent = f"looked for under {root}" if root else self._told(option, None)
            lines.append(f"{name} features: {where if folders else absent}")
        return lines


def is_results(path: Path) -> bool:
    """Whether ``path`` is a folder that training left: it holds checkpoints, options, code or logs of it."""
    return path.is_dir() and (any((path / name).is_file() for name in _TRACES) or bool(checkpoints_in(path)))


def checkpoints_in(folder: Path) -> tuple[Path, ...]:
    """The checkpoints of ``folder``: best, latest, others by name, then epochs in order."""

    def rank(path: Path) -> tuple[int, int, str]:
        epoch = _EPOCH.search(path.stem)
        state = next((i for i, word in enumerate(_STATES) if word in path.stem.lower()), len(_STATES))
        return (state if epoch is None else len(_STATES) + 1, int(epoch[1]) if epoch else 0, path.name)

    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in ENDINGS and path.is_file()]
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read", received=error.strerror or str(error)) from error
    return tuple(sorted((path for path in found if not path.name.startswith(".")), key=rank))


def open_results(
    folder: str | Path,
    *,
    checkpoint: str | None = None,
    annotations: str | Path | None = None,
    sources: FeatureSources | None = None,
    root: str | Path | None = None,
) -> ResultsFolder:
    """Read the results folder ``folder``, or that of a checkpoint file in it.

    - ``checkpoint``: the name of the file to take; by default the best, then the latest.
    - ``annotations``, ``sources``: what the user says; what they leave out is looked for as training recorded
      it, and by the last parts of those paths under ``sources.root`` and under ``root``.

    Raises :class:`~gatescope.runtime.errors.CheckpointError` where there is no such folder, no checkpoint in
    it, or the one taken cannot be read: never is another one taken in silence.
    """
    place, wanted = local(folder), checkpoint
    if place.is_file():
        place, wanted = place.parent, wanted or place.name
    if not place.is_dir():
        raise CheckpointError(
            f"there is no folder {place}",
            expected="the results folder that training wrote, or a checkpoint in it",
            fix="check the path",
        )
    found = checkpoints_in(place)
    taken = _chosen(place, found, wanted)
    read = _read(taken, found)
    given = sources or FeatureSources()
    under = [one for one in (given.root, None if root is None else local(root)) if one is not None]
    recorded = find_recorded(read.options, place, under, given)
    return ResultsFolder(
        place,
        taken,
        read,
        found,
        left_by(taken, read),
        local(annotations) if annotations is not None else recorded.annotations,
        annotations is not None,
        recorded.sources,
        find_code(place),
        {key: value for key, value in recorded.missing.items() if key != ANNOTATIONS or annotations is None},
        recorded.how,
    )


def _chosen(folder: Path, found: Sequence[Path], name: str | None) -> Path:
    names = ", ".join(path.name for path in found)
    if name is not None:
        path = folder / Path(name).name if (folder / Path(name).name).exists() else local(name)
        if not path.is_file():
            raise CheckpointError(
                f"there is no checkpoint {name} in {folder}",
                received=f"checkpoints there: {names or 'none'}",
                fix="give --checkpoint one of these names" if names else "check the folder",
            )
        return path
    if not found:
        inside = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
        raise CheckpointError(
            f"{folder} holds no checkpoint",
            received=", ".join(_shortened(inside)) or "an empty folder",
            expected=f"a file that training saved ({', '.join(ENDINGS)})",
            fix="give the folder that holds model_best.ckpt",
        )
    return found[0]


def _read(taken: Path, found: Sequence[Path]) -> Checkpoint:
    try:
        return load_checkpoint(taken)
    except CheckpointError as error:
        others = [path.name for path in found if path != taken and path.stat().st_size > 0]
        if not others:
            raise
        another = f"take another checkpoint of this training: --checkpoint {others[0]}" + (
            f" (also there: {', '.join(_shortened(others[1:]))})" if others[1:] else ""
        )
        raise type(error)(
            error.problem,
            received=error.received,
            expected=error.expected,
            fix=f"{error.fix}; or {another}" if error.fix else another,
        ) from error


def _shortened(names: list[str], most: int = 8) -> list[str]:
    return names if len(names) <= most else [*names[:most], f"… {len(names) - most} more"]


def refuse_no_data(results: ResultsFolder, *, doing: str) -> None:
    """Raise :class:`UsageError` where annotations or features are neither recorded and here nor given."""
    absent = {key: value for key, value in results.missing.items() if key != ANNOTATIONS}
    if results.annotations is None:
        recorded = results.missing.get(ANNOTATIONS)
        raise UsageError(
            f"the annotations to {doing} are not known",
            received=f"training evaluated on {recorded}, which is not here"
            if recorded
            else f"training's options do not record them ({ANNOTATIONS})",
            fix="give --annotations FILE, or --root DIR, the folder under which training's paths lie",
        )
    if results.sources.root is None and not results.sources.complete:
        raise UsageError(
            f"the features to {doing} are not here",
            received=f"training read {', '.join(absent.values())}"
            if absent
            else "training's options do not record their folders",
            fix="give --features ROOT, the folder that holds the features' folders, or --root DIR",
        )
