"""A trained checkpoint in, an exported model out whose gates are outputs, proven equal."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint import Checkpoint, load_checkpoint
    from .choices import Choices
    from .export import ExportResult, export_checkpoint
    from .verify import VerifyRequest

__all__ = [
    "Checkpoint",
    "Choices",
    "ExportResult",
    "VerifyRequest",
    "export_checkpoint",
    "load_checkpoint",
]

_MODULES = {
    "Checkpoint": ".checkpoint",
    "Choices": ".choices",
    "ExportResult": ".export",
    "VerifyRequest": ".verify",
    "export_checkpoint": ".export",
    "load_checkpoint": ".checkpoint",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name], __name__), name)
