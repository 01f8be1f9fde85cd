"""What the monitor has to say in the process's own log, where saying it must never harm."""

from __future__ import annotations

import contextlib
import logging

_log = logging.getLogger("gatescope")


def complain(text: str) -> None:
    """A warning of the logger ``gatescope``; a handler that raises is nobody's fault."""
    with contextlib.suppress(Exception):
        _log.warning("%s", text)


def described(error: Exception) -> str:
    """``ValueError: why``; of an error that cannot be printed its kind alone."""
    kind = type(error).__name__
    with contextlib.suppress(Exception):
        return f"{kind}: {error}"
    return kind
