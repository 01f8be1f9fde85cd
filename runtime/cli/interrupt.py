"""Ctrl-C ends a command, also where it arrives inside code whose exceptions Python drops.

Python prints and forgets exceptions raised in callbacks of weak references and in ``__del__``; a
``KeyboardInterrupt`` that falls into one of them (matplotlib makes many) would let the command go on.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

#: The exit code of a command that was interrupted.
INTERRUPTED = 130
# How long after it was dropped the interrupt is raised again: long enough to be out of that callback.
_AGAIN_SECONDS = 0.02


def _interrupt() -> None:
    """A real signal to the main thread, which also ends what it waits for."""
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGINT)


@contextmanager
def interrupts_are_kept() -> Generator[None]:
    """Within, an interrupt that Python drops is raised again in the main thread."""
    before = sys.unraisablehook

    def hook(dropped: Any) -> None:
        if isinstance(dropped.exc_value, KeyboardInterrupt):
            timer = threading.Timer(_AGAIN_SECONDS, _interrupt)
            timer.daemon = True
            timer.start()
        else:
            before(dropped)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
