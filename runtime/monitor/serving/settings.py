"""What a monitor inside a service may use, and how often it does things."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..detection.settings import WatchSettings, check_number, check_whole
from ..log.settings import LogSettings


@dataclass(frozen=True)
class MonitorSettings:
    """Numbers of a monitor.

    - ``keep_gates``: share of videos whose gates are logged whole; of all others the counts are.
    - ``queue_requests``, ``queue_bytes``: what may wait to be counted; what comes beyond is dropped, counted.
    - ``most_slices``: different labels that are kept apart; further ones are all called ``other``.
    - ``poll_seconds``: how long a request waits to be counted, at most. ``state_seconds``: how often what was
      counted is written for other processes to read.

    Raises :class:`~gatescope.runtime.errors.UsageError` for numbers that make no sense.
    """

    keep_gates: float = 0.01
    queue_requests: int = 4096
    queue_bytes: int = 64 * 2**20
    most_slices: int = 20
    poll_seconds: float = 0.05
    state_seconds: float = 1.0
    log: LogSettings = field(default_factory=LogSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)

    def __post_init__(self) -> None:
        check_number("keep_gates", self.keep_gates, 0, 1)
        check_whole("queue_requests", self.queue_requests, 1)
        check_whole("queue_bytes", self.queue_bytes, 1)
        check_whole("most_slices", self.most_slices, 0)
        check_number("poll_seconds", self.poll_seconds, 0.001)
        check_number("state_seconds", self.state_seconds, 0)
