"""Watching gates in production: counts, baselines, alarms, logs and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .alarm import Alarm
    from .baseline.stored import load_baseline
    from .log.reader import read_log
    from .metrics.server import MetricsServer
    from .serving.monitor import Monitor
    from .serving.session import MonitoredSession
    from .settings import LogSettings, MonitorSettings, WatchSettings

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
        "LogSettings": ".settings",
        "MetricsServer": ".metrics.server",
        "Monitor": ".serving.monitor",
        "MonitorSettings": ".settings",
        "MonitoredSession": ".serving.session",
        "WatchSettings": ".settings",
        "load_baseline": ".baseline.stored",
        "read_log": ".log.reader",
    },
)
