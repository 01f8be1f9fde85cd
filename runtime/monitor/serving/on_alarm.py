"""Runs the operator's command for each alarm, with the alarm as JSON on its standard input."""

from __future__ import annotations

import queue
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence

from ...errors import UsageError
from ..alarm import Alarm

# Alarms that may wait for a slow command; more than these tell nobody anything new.
_MOST_WAITING = 100


class AlarmCommand:
    """One command, run once an alarm, one after the other, on a thread of its own.

    ``command``: as a shell would split it; no shell is started. A command that cannot be started, fails or
    takes longer than ``seconds`` is counted in ``failures``, and ``last_failure`` says what came.

    Raises :class:`~gatescope.runtime.errors.UsageError` for a command that cannot be split, or
    whose program is not there or is not executable.
    """

    def __init__(self, command: str, seconds: float = 30.0) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise UsageError(
                "the command for alarms cannot be read", received=f"{command!r}: {error}"
            ) from error
        if not self._words:
            raise UsageError("the command for alarms is empty", received=repr(command))
        if shutil.which(self._words[0]) is None:
            raise UsageError(
                "the command for alarms cannot be run",
                received=f"{command!r}: {self._words[0]} is not there, or is not executable",
                expected="a program on the PATH, or the path of an executable file",
                fix="give the whole path, and make the file executable (chmod +x)",
            )
        self.command = command
        self.seconds = seconds
        self.failures = 0
        self.last_failure = ""
        self._waiting: queue.Queue[Alarm | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None

    def tell(self, alarms: Sequence[Alarm]) -> None:
        """Have the command run for each of ``alarms``; returns at once."""
        if alarms and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._work, name="gatescope-alarms", daemon=True)
            self._thread.start()
        for alarm in alarms:
            try:
                self._waiting.put_nowait(alarm)
            except queue.Full:
                self._failed(f"{_MOST_WAITING} alarms wait for the command already")

    def close(self, seconds: float = 30.0) -> None:
        """Wait until every alarm was told, for ``seconds`` at most."""
        if self._thread is None:
            return
        try:
            self._waiting.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _work(self) -> None:
        while (alarm := self._waiting.get()) is not None:
            self._run(alarm)

    def _run(self, alarm: Alarm) -> None:
        # A file and no pipe: a pipe that the command's own children keep open would hold this thread.
        with tempfile.TemporaryFile() as complaints:
            try:
                done = subprocess.run(
                    self._words,
                    input=alarm.to_json().encode() + b"\n",
                    stdout=subprocess.DEVNULL,
                    stderr=complaints,
                    timeout=self.seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                self._failed(f"{self.command}: still running after {self.seconds:g} s, stopped")
            except (OSError, ValueError) as error:
                self._failed(f"{self.command}: {error}")
            else:
                if done.returncode:
                    complaints.seek(0)
                    last = complaints.read().decode(errors="replace").strip().splitlines()[-1:]
                    self._failed(f"{self.command}: exit code {done.returncode} {' '.join(last)}".rstrip())

    def _failed(self, why: str) -> None:
        self.failures += 1
        self.last_failure = why
