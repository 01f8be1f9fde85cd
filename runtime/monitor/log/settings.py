"""How large and how old a gate log may get, and how often it reaches the disk."""

from __future__ import annotations

from dataclasses import dataclass

from ..detection.settings import check_number, check_switch, check_whole


@dataclass(frozen=True)
class LogSettings:
    """Numbers of a gate log.

    - ``segment_bytes``, ``segment_seconds``: when a segment is closed and the next begins.
    - ``sync_seconds``: how often what was written is forced to the disk; what a power loss may take.
    - ``keep_bytes``, ``keep_days``: what is kept of finished segments; the oldest go first.
    - ``seal``: whether finished segments are turned into Parquet, by a process of their own.

    Raises :class:`~gatescope.runtime.errors.UsageError` for numbers that make no sense.
    """

    segment_bytes: int = 64 * 2**20
    segment_seconds: float = 3600.0
    sync_seconds: float = 1.0
    keep_bytes: int = 20 * 2**30
    keep_days: float = 30.0
    seal: bool = True

    def __post_init__(self) -> None:
        check_whole("segment_bytes", self.segment_bytes, 1)
        check_number("segment_seconds", self.segment_seconds, 0)
        check_number("sync_seconds", self.sync_seconds, 0)
        check_whole("keep_bytes", self.keep_bytes, 0)
        check_number("keep_days", self.keep_days, 0)
        check_switch("seal", self.seal)
