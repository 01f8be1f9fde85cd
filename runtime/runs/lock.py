"""One process at a time writes a run folder."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import RunLockedError
from .schema import HOLDER_FILE, LOCK_FILE


@contextmanager
def lock_run(folder: Path) -> Generator[None]:
    """Hold the lock of the run ``folder``, which must exist.

    The system releases the lock when its process ends in whatever way, so a dead run never blocks. Who holds
    it is kept beside it, for the message only. Raises
    :class:`~gatescope.runtime.errors.RunLockedError` at once where another process holds it.
    """
    holder = folder / HOLDER_FILE
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunLockedError(
            f"another run is writing {folder}",
            received=_describe(holder),
            fix="wait until it ends, or choose another --output",
        ) from error
    try:
        holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}), encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _describe(holder: Path) -> str:
    try:
        told = json.loads(holder.read_bytes())
        return f"held by process {told['pid']} on {told['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "held by a process that did not say who it is"
