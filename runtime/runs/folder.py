"""Decides whether a run may be written to a folder, and finds the run that is there to be resumed."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..errors import OutputTakenError, RunFolderError
from .info import RunInfo, read_info
from .lock import lock_run
from .schema import (
    GATES_FOLDER,
    HOLDER_FILE,
    LOCK_FILE,
    RUN_FILE,
    SAMPLES_FILE,
    SUMMARY_FOLDER,
    part_paths,
)


def earlier_run(folder: Path, stack: ExitStack, *, resume: bool) -> RunInfo | None:
    """The run that ``folder`` holds and that is to be resumed; None where a new run may be written there.

    With a run to resume, the folder's lock is held until ``stack`` closes. Nothing else is written. Raises
    :class:`~gatescope.runtime.errors.RunLockedError` where another process writes the folder, and
    :class:`~gatescope.runtime.errors.OutputTakenError` where it holds a run that was not to be resumed, or
    anything else.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise OutputTakenError(f"{folder} is a file", expected="a folder to write the run to")
    with ExitStack() as local:
        if any((folder / name).is_file() for name in (LOCK_FILE, RUN_FILE)):
            local.enter_context(lock_run(folder))
        info = _look(folder)
        if info is not None and not resume:
            raise _occupied(folder, info)
        if info is not None:
            stack.push(local.pop_all())
        return info


def claim_new(folder: Path, stack: ExitStack) -> None:
    """Make ``folder``, take its lock until ``stack`` closes, and check that no run has begun there."""
    folder.mkdir(parents=True, exist_ok=True)
    stack.enter_context(lock_run(folder))
    info = _look(folder)
    if info is not None:
        raise _occupied(folder, info)


@contextmanager
def writing(folder: Path, what: str = "run folder", resumable: str = RUN_FILE) -> Generator[None]:
    """What the system refuses while a folder is written, as an error that says what to do.

    ``what`` the folder is called; ``resumable``: the file with which ``--resume`` can go on.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise RunFolderError(
            f"the {what} {folder} cannot be written: {error.strerror or error}",
            received=str(error.filename) if error.filename else None,
            fix=("free some space" if full else "choose a place you may write")
            + (", then run the same command with --resume" if (folder / resumable).is_file() else ""),
        ) from error


def _look(folder: Path) -> RunInfo | None:
    if (folder / RUN_FILE).exists():
        return read_info(folder)
    others = sorted(path.name for path in folder.iterdir() if not _left_by_a_start(path))
    if others:
        raise OutputTakenError(
            f"{folder} is not empty and holds no run",
            received=", ".join(others[:10]) + (f" and {len(others) - 10} more" if len(others) > 10 else ""),
            expected="a new or empty folder",
            fix="choose another --output",
        )
    return None


def _occupied(folder: Path, info: RunInfo) -> OutputTakenError:
    if info.finished:
        return OutputTakenError(
            f"{folder} holds a finished run",
            received=f"{info.samples} samples of {info.model.path}",
            fix="choose another --output",
        )
    return OutputTakenError(
        f"{folder} holds an unfinished run",
        received=f"{info.samples} samples of {info.model.path}",
        fix="run the same command with --resume to go on with it, or choose another --output",
    )


def _left_by_a_start(path: Path) -> bool:
    """Whether a run that was killed before its ``run.json`` existed may have left ``path``."""
    if path.name in (LOCK_FILE, HOLDER_FILE) or (path.name.startswith(".") and path.suffix == ".partial"):
        return True
    if not (path.parent / LOCK_FILE).is_file():
        return False
    if path.name in (GATES_FOLDER, SUMMARY_FOLDER):
        return not part_paths(path.parent, path.name)
    return path.name == SAMPLES_FILE
