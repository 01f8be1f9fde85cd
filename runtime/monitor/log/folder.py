"""A gate log's folder: whose it is, and where its files are.

LOGDIR/
  log.json                 the format, the model, its manifest
  segments/PROCESS-000000.gatelog   one open a process; what ended waits here to be sealed
  sealed/PROCESS-000000/   Parquet: ``videos.parquet``, and a run folder of the gates that were kept whole
  state/                   what each process has counted, for metrics
  clock.json               the time that retention goes by
  alarms.jsonl             what the watcher told
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from ...errors import GateLogError, GatescopeError
from ...files import local, new_file
from ...gates.manifest import Manifest
from ..model import WatchedModel
from .frames import LOG_DOCUMENT

LOG_FILE = "log.json"
SUFFIX = ".gatelog"
_LOCK_SECONDS = 30.0


@dataclass(frozen=True)
class LogFolder:
    """A gate log of ``model``, whose exported file says ``manifest``."""

    path: Path
    model: WatchedModel
    manifest: Manifest

    @property
    def segments(self) -> Path:
        """Where segments are written."""
        return self.path / "segments"

    @property
    def sealed(self) -> Path:
        """Where sealed segments are."""
        return self.path / "sealed"

    @property
    def state(self) -> Path:
        """Where processes keep what they counted."""
        return self.path / "state"

    def segment_paths(self) -> list[Path]:
        """Segments that are not sealed, by name."""
        # In this order: one that is sealed meanwhile is then in one list or the other, and never in neither.
        paths = sorted(self.segments.glob(f"*{SUFFIX}"))
        sealed = {path.name for path in self.sealed_paths()}
        return [path for path in paths if path.stem not in sealed]

    def sealed_paths(self) -> list[Path]:
        """Folders of sealed segments, by name."""
        return sorted(path for path in self.sealed.glob("*") if not path.name.startswith("."))


def join_folder(path: Path, manifest: Manifest, model: WatchedModel) -> LogFolder:
    """The log folder at ``path``, made where there is none, for a writer of ``model``.

    Raises :class:`~gatescope.runtime.errors.GateLogError` for a folder of another model or a newer version,
    or one that cannot be written.
    """
    try:
        for folder in (path / "segments", path / "sealed", path / "state"):
            folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path / ".lock", timeout=_LOCK_SECONDS):
            if not (path / LOG_FILE).exists():
                _write(path, manifest, model)
    except Timeout as error:
        raise GateLogError(f"{path} is held by another process for {_LOCK_SECONDS:.0f} s") from error
    except OSError as error:
        raise GateLogError(
            f"the gate log {path} cannot be written",
            received=error.strerror or str(error),
            fix="choose a folder this process may write to",
        ) from error
    log = open_folder(path)
    if different := log.model.differences(model):
        raise GateLogError(
            f"the gate log {path} is of another model",
            received="; ".join(different),
            expected=f"model {log.model.version}, which began it",
            fix="give every model a folder of its own",
        )
    return log


def open_folder(path: str | Path) -> LogFolder:
    """The log folder at ``path``, to be read.

    Raises :class:`~gatescope.runtime.errors.GateLogError` where it is none, is damaged, or is newer.
    """
    path = local(path)
    try:
        content = (path / LOG_FILE).read_bytes()
    except OSError as error:
        raise GateLogError(
            f"{path} is not a gate log",
            received=f"{LOG_FILE}: {error.strerror or error}",
            expected="a folder that a MonitoredSession writes to",
            fix="this is a run: use 'gatescope monitor check'" if (path / "run.json").is_file() else None,
        ) from error
    name = path / LOG_FILE
    plain = LOG_DOCUMENT.decode(content, name)
    try:
        model = msgspec.convert(plain["model"], WatchedModel)
        manifest = Manifest.from_json(msgspec.json.encode(plain["manifest"]), origin=str(name))
    except (KeyError, ValueError, TypeError, GatescopeError) as error:
        raise LOG_DOCUMENT.damaged(name, error) from error
    return LogFolder(path, model, manifest)


def process_name() -> str:
    """What tells this process's files from those of every other, also of one with the same number later."""
    host = "".join(c if c.isalnum() else "_" for c in socket.gethostname())[:32] or "host"
    return f"{host}-{os.getpid()}-{time.time_ns() // 10**6:x}{secrets.token_hex(2)}"


def in_use(path: Path) -> bool:
    """Whether a process that lives holds the lock of the file at ``path``."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        # Shared, so that two who ask do not take each other for the writer.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def sync_folder(path: Path) -> None:
    """Have the names in ``path`` reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, manifest: Manifest, model: WatchedModel) -> None:
    document = {
        "format": LOG_DOCUMENT.mark,
        "format_version": LOG_DOCUMENT.version,
        "model": asdict(model),
        "manifest": manifest.to_dict(),
    }
    with new_file(path / LOG_FILE) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
