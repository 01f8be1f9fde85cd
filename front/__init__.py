"""gatescope opens the gates of trained audio-visual models: export, run, analyse, watch.

- ``gatescope.export``: a checkpoint or a live PyTorch model in, a model out whose gates are outputs.
- ``gatescope.runtime``: run such a model with every gate tracked, write and read runs, watch production.
- ``gatescope.analysis``: gates to statistics, figures and a report.

The names most people need can be had from here too (``gatescope.GateSession``). Importing this loads none of
them: a room comes with the first of its names, and what it needs (torch, ONNX Runtime, matplotlib) with it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .runtime.lazy import lazy_names

if TYPE_CHECKING:
    from . import analysis, export, runtime
    from .analysis import GateAnalyzer, ablate, analyze_run, compare_runs, diff_runs, summarise
    from .export import (
        adapt_legacy_model,
        export_checkpoint,
        export_model,
        load_checkpoint,
        load_legacy_model_with_gate_tracking,
    )
    from .runtime import (
        GatescopeError,
        GateSession,
        Monitor,
        MonitoredSession,
        batches,
        open_run,
        prepare,
        read_manifest,
    )

    __version__: str

__all__ = [
    "GateAnalyzer",
    "GateSession",
    "GatescopeError",
    "Monitor",
    "MonitoredSession",
    "__version__",
    "ablate",
    "adapt_legacy_model",
    "analysis",
    "analyze_run",
    "batches",
    "compare_runs",
    "diff_runs",
    "export",
    "export_checkpoint",
    "export_model",
    "load_checkpoint",
    "load_legacy_model_with_gate_tracking",
    "open_run",
    "prepare",
    "read_manifest",
    "runtime",
    "summarise",
]

_ROOMS = ("analysis", "export", "runtime")
_named, _ = lazy_names(
    __name__,
    {
        "GateAnalyzer": ".analysis",
        "GateSession": ".runtime",
        "GatescopeError": ".runtime",
        "Monitor": ".runtime",
        "MonitoredSession": ".runtime",
        "ablate": ".analysis",
        "adapt_legacy_model": ".export",
        "analyze_run": ".analysis",
        "batches": ".runtime",
        "compare_runs": ".analysis",
        "diff_runs": ".analysis",
        "export_checkpoint": ".export",
        "export_model": ".export",
        "load_checkpoint": ".export",
        "load_legacy_model_with_gate_tracking": ".export",
        "open_run": ".runtime",
        "prepare": ".runtime",
        "read_manifest": ".runtime",
        "summarise": ".analysis",
    },
)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    if name == "__version__":
        from importlib.metadata import version

        return version("gatescope")
    return _named(name)


def __dir__() -> list[str]:
    return list(__all__)
