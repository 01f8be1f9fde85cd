"""How long a test waits for what must come: a machine under load takes its time, and nothing is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: Seconds. Only a test that fails waits as long.
PATIENCE = 120.0


def until(condition: Callable[[], Any]) -> None:
    """Wait for ``condition``; it must come true."""
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()
