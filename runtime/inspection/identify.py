"""Finds out what a path is, from its content, and inspects it with the room it needs and no other."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from .. import plugins
from ..data.dataset import FeatureSources
from ..errors import GatescopeError, UsageError
from ..files import local
from ..runs.schema import RUN_FILE
from ..session.model_archive import holds_only_a_part
from .exported_model import inspect_model
from .inspection import TITLES, InspectedKind, Inspection
from .run_folder import inspect_run

INSPECT_CHECKPOINT, INSPECT_RESULTS = "inspect-checkpoint", "inspect-results"

_ZIP = b"PK\x03\x04"
# Every pickle since protocol 2 begins so; PyTorch's own format before 1.6 is one.
_PICKLE = b"\x80"
_CHECKPOINT_NAMES = (".ckpt", ".pth", ".tar")
# What training leaves next to its checkpoints, one of which may be missing.
_TRAINING = ("opt.json", "code.zip", "train.log.txt", "eval.log.txt")
_HEAD = 8


@dataclass(frozen=True)
class ResultsOptions:
    """What the user says of a training's results folder, in place of what would be taken.

    - ``checkpoint``: the name of one in it, by default the best. ``annotations``, ``sources``: where the data
      lie. ``root``: a folder under which the paths training recorded lie.
    """

    checkpoint: str | None = None
    annotations: Path | None = None
    sources: FeatureSources = field(default_factory=FeatureSources)
    root: Path | None = None


def inspect_path(path: str | Path, options: ResultsOptions | None = None) -> Inspection:
    """What ``path`` is and what is wrong with it: a checkpoint, results folder, exported model or run folder.

    ``options`` are for a results folder alone. Nothing in a checkpoint is executed, nothing is written.
    Raises :class:`GatescopeError` where it is none of these, or cannot be read at all.
    """
    path = local(path)
    kind = identify(path)
    wanted = options or ResultsOptions()
    if wanted != ResultsOptions() and kind != "results":
        raise UsageError(
            "--checkpoint, --root and where data lie are for a results folder",
            received=f"{path} is a {TITLES[kind]}",
            fix="leave them out, or give the folder that training wrote",
        )
    found: Inspection
    match kind:
        case "run":
            return inspect_run(path)
        case "model":
            return inspect_model(path)
        case "checkpoint":
            found = plugins.load(plugins.PLUGINS, INSPECT_CHECKPOINT)(path)
            return found
        case "results":
            found = plugins.load(plugins.PLUGINS, INSPECT_RESULTS)(path, wanted)
            return found


def identify(path: Path) -> InspectedKind:
    """Which of the four ``path`` is, without judging it. Raises :class:`GatescopeError` for none of them."""
    if not path.exists():
        raise GatescopeError(f"there is no file or folder {path}", fix="check the path")
    if path.is_dir():
        if (path / RUN_FILE).exists():
            return "run"
        names = sorted(one.name for one in path.iterdir() if one.is_file())
        if any(name in _TRAINING or name.lower().endswith(_CHECKPOINT_NAMES) for name in names):
            return "results"
        raise GatescopeError(
            f"{path} is a folder, but neither a run nor a training's results",
            received=f"no {RUN_FILE} and no checkpoint in it",
            expected="a checkpoint, an exported model, or a folder that training or 'gatescope run' wrote",
        )
    if not path.is_file():
        raise GatescopeError(f"{path} is not a regular file", expected="a checkpoint or an exported model")
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        raise GatescopeError(f"{path} cannot be read", received=error.strerror or str(error)) from error
    if not head:
        raise GatescopeError(f"{path} is empty", fix="copy or export it again")
    if head.startswith(_ZIP):
        return _in_zip(path)
    return "checkpoint" if head.startswith(_PICKLE) else "model"


def _in_zip(path: Path) -> InspectedKind:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError):
        entries = []
    if not entries or holds_only_a_part(entries):  # cut short: its name is all there is to go by
        return "checkpoint" if path.suffix.lower() in _CHECKPOINT_NAMES else "model"
    names = {entry.filename.partition("/")[2] for entry in entries}
    exported = {"archive_format", "constants.pkl"} & names
    return "checkpoint" if "data.pkl" in names and not exported else "model"
