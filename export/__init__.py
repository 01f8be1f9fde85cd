"""A trained checkpoint in, an exported model out whose gates are outputs, proven equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Checkpoint": ".checkpoint",
        "Choices": ".choices",
        "ExportResult": ".export",
        "VerifyRequest": ".verify",
        "export_checkpoint": ".export",
        "load_checkpoint": ".checkpoint",
    },
)
