"""When a reading beyond its threshold becomes an alarm, and when silence does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WatchSettings:
    """How the watcher judges.

    - ``at_once``: from this excess on (1 is the threshold) a window alone is enough. Below it the window must
      stay beyond its threshold for ``confirm`` windows more, of which the last shares no video with it.
    - ``evaluations``: how often a window is looked at while it moves on by its own size.
    - ``stale_seconds``: after how long without any video traffic is stale.
    - ``examples``: ids in an alarm.
    """

    at_once: float = 2.0
    confirm: int = 1
    evaluations: int = 5
    stale_seconds: float = 300.0
    examples: int = 5
