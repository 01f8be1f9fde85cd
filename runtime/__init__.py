"""Run an exported model with every gate tracked, prepare its features, write and read runs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import GatescopeError

if TYPE_CHECKING:
    from .data.batches import batches
    from .data.prepare import Sample, prepare
    from .manifest import Manifest
    from .model_file import read_manifest
    from .runs.reader import open_run
    from .session import GateSession, Outputs

__all__ = [
    "GateSession",
    "GatescopeError",
    "Manifest",
    "Outputs",
    "Sample",
    "batches",
    "open_run",
    "prepare",
    "read_manifest",
]

# Where each public name lives. Importing the room must cost nothing: ONNX Runtime and Polars are loaded
# with the first name that needs them.
_HOME = {
    "GateSession": ".session",
    "Manifest": ".manifest",
    "Outputs": ".session",
    "Sample": ".data.prepare",
    "batches": ".data.batches",
    "open_run": ".runs.reader",
    "prepare": ".data.prepare",
    "read_manifest": ".model_file",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(_HOME[name], __name__), name)
    except ModuleNotFoundError as error:
        from .extras import missing_extra

        if missing := missing_extra(error):
            raise missing from error
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
