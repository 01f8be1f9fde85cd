"""What a monitor inside a service may use, and how often it does things."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..detection.settings import WatchSettings
from ..log.settings import LogSettings


@dataclass(frozen=True)
class MonitorSettings:
    """Numbers of a monitor.

    - ``keep_gates``: share of videos whose gates are logged whole; of all others the counts are.
    - ``queue_requests``, ``queue_bytes``: what may wait to be counted; what comes beyond is dropped, counted.
    - ``most_slices``: different labels that are kept apart; further ones are all called ``other``.
    - ``poll_seconds``: how long a request waits to be counted, at most. ``state_seconds``: how often what was
      counted is written for other processes to read.
    """

    keep_gates: float = 0.01
    queue_requests: int = 4096
    queue_bytes: int = 64 * 2**20
    most_slices: int = 20
    poll_seconds: float = 0.05
    state_seconds: float = 1.0
    log: LogSettings = field(default_factory=LogSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)
