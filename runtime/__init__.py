"""Run an exported model with every gate tracked, prepare its features, write and read runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import lazy_names

if TYPE_CHECKING:
    from .data.batches import batches
    from .data.dataset import Dataset, FeatureSources
    from .data.prepare import Sample, prepare
    from .errors import GatescopeError
    from .gates.manifest import Manifest
    from .monitor.serving.monitor import Monitor
    from .monitor.serving.session import MonitoredSession
    from .runs.reader import open_run
    from .session.model_file import read_manifest
    from .session.session import GateSession, Outputs

__all__ = [
    "Dataset",
    "FeatureSources",
    "GateSession",
    "GatescopeError",
    "Manifest",
    "Monitor",
    "MonitoredSession",
    "Outputs",
    "Sample",
    "batches",
    "open_run",
    "prepare",
    "read_manifest",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Dataset": ".data.dataset",
        "FeatureSources": ".data.dataset",
        "GateSession": ".session.session",
        "GatescopeError": ".errors",
        "Manifest": ".gates.manifest",
        "Monitor": ".monitor.serving.monitor",
        "MonitoredSession": ".monitor.serving.session",
        "Outputs": ".session.session",
        "Sample": ".data.prepare",
        "batches": ".data.batches",
        "open_run": ".runs.reader",
        "prepare": ".data.prepare",
        "read_manifest": ".session.model_file",
    },
)
