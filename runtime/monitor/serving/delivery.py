"""Where alarms go: the process's own log, a file beside the gate log, the operator's command."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from ..alarm import Alarm
from ..describe import headline
from .complaint import complain, described
from .on_alarm import AlarmCommand

ALARMS_FILE = "alarms.jsonl"
_MOST_KEPT = 1000


class AlarmDelivery:
    """Tells each alarm everywhere it should go; nothing that fails there stops the rest.

    ``folder``: a gate log, whose ``alarms.jsonl`` gets a line an alarm. ``on_alarm``: a command (see
    :class:`AlarmCommand`), or a function, called on the thread that watches. ``recent``: the last thousand.
    ``failures``: deliveries that failed, and ``last_failure`` why the last one did.
    """

    def __init__(self, folder: Path | None, on_alarm: str | Callable[[Alarm], object] | None) -> None:
        self.recent: deque[Alarm] = deque(maxlen=_MOST_KEPT)
        self._folder = folder
        self._command = AlarmCommand(on_alarm) if isinstance(on_alarm, str) else None
        self._call = on_alarm if callable(on_alarm) else None
        self._failures = 0
        self._last_failure = ""

    @property
    def failures(self) -> int:
        """Of the file, the function and the command together."""
        return self._failures + (self._command.failures if self._command else 0)

    @property
    def last_failure(self) -> str:
        """Empty where none failed."""
        return (self._command.last_failure if self._command else "") or self._last_failure

    def tell(self, alarms: Sequence[Alarm]) -> None:
        """Deliver ``alarms``, in order."""
        for alarm in alarms:
            self.recent.append(alarm)
            complain(headline(alarm))
            if self._folder is not None:
                self._append(self._folder / ALARMS_FILE, alarm)
            if self._call is not None:
                try:
                    self._call(alarm)
                except Exception as error:  # a caller's function may raise anything
                    self._failed(f"on_alarm: {described(error)}")
        if self._command is not None:
            self._command.tell(alarms)

    def close(self) -> None:
        """Wait for the command's last runs."""
        if self._command is not None:
            self._command.close()

    def _append(self, path: Path, alarm: Alarm) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(descriptor, alarm.to_json().encode() + b"\n")
            finally:
                os.close(descriptor)
        except OSError as error:
            self._failed(f"{path}: {error.strerror or error}")

    def _failed(self, why: str) -> None:
        self._failures += 1
        self._last_failure = why
