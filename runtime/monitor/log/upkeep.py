"""Starts the process that seals finished segments and removes old ones; the writer does not wait for it."""

from __future__ import annotations

import os
import sys

from ..settings import LogSettings
from .clock import doubt_of
from .folder import LogFolder


class Upkeep:
    """Of one writer of the log ``folder``; after a fork the child needs one of its own."""

    def __init__(self, folder: LogFolder, keep: LogSettings) -> None:
        self._folder = folder
        self._keep = keep
        self._doubted = False
        self._children: list[int] = []

    def start(self) -> list[str]:
        """Start the process; what speaks against it or failed, in words, a doubt of the clock once."""
        faults: list[str] = []
        doubt = doubt_of(self._folder)
        if doubt and not self._doubted:
            faults.append(doubt)
        self._doubted = bool(doubt)
        # -P: a polars.py in the folder the service stands in is not ours to import.
        command = [sys.executable, "-P", "-m", "gatescope.runtime.monitor.log.maintain"]
        command.append(str(self._folder.path.resolve()))
        command += ["--keep-bytes", str(self._keep.keep_bytes), "--keep-days", str(self._keep.keep_days)]
        quiet = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in (0, 1, 2)]
        self._children = [child for child in self._children if not _has_ended(child)]
        try:
            child = os.posix_spawn(sys.executable, command, os.environ, file_actions=quiet, setsid=True)
        except OSError as error:
            faults.append(error.strerror or str(error))
        else:
            self._children.append(child)
        return faults


def _has_ended(child: int) -> bool:
    """Whether a child process ended; asking is what keeps it from staying a zombie."""
    try:
        return os.waitpid(child, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True
