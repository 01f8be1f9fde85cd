"""Watching gates in production: counts, baselines, alarms, logs and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .alarm import Alarm
    from .baseline.stored import load_baseline
    from .detection.settings import WatchSettings
    from .log.reader import read_log
    from .log.settings import LogSettings
    from .metrics.server import MetricsServer
    from .serving.monitor import Monitor
    from .serving.session import MonitoredSession
    from .serving.settings import MonitorSettings

__all__ = [
    "Alarm",
    "LogSettings",
    "MetricsServer",
    "Monitor",
    "MonitorSettings",
    "MonitoredSession",
    "WatchSettings",
    "load_baseline",
    "read_log",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Alarm": ".alarm",
        "LogSettings": ".log.settings",
        "MetricsServer": ".metrics.server",
        "Monitor": ".serving.monitor",
        "MonitorSettings": ".serving.settings",
        "MonitoredSession": ".serving.session",
        "WatchSettings": ".detection.settings",
        "load_baseline": ".baseline.stored",
        "read_log": ".log.reader",
    },
)
