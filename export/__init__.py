"""A trained checkpoint in, an exported model out whose gates are outputs, compared with PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.lazy import lazy_names
from ..runtime.torch_range import refuse_old_torch

if TYPE_CHECKING:
    from .export import export_checkpoint
    from .families.choices import Choices
    from .graph.variant import Variant
    from .live.adapt import adapt_legacy_model, restore_legacy_model
    from .live.load import load_legacy_model_with_gate_tracking
    from .proof.certified import ExportResult
    from .proof.verify import VerifyRequest
    from .reading.checkpoint import Checkpoint, load_checkpoint
    from .user.export import export_model

__all__ = [
    "Checkpoint",
    "Choices",
    "ExportResult",
    "Variant",
    "VerifyRequest",
    "adapt_legacy_model",
    "export_checkpoint",
    "export_model",
    "load_checkpoint",
    "load_legacy_model_with_gate_tracking",
    "restore_legacy_model",
]

# Before any of the room's modules is imported: they ask PyTorch for what an old one lacks.
refuse_old_torch()

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Checkpoint": ".reading.checkpoint",
        "Choices": ".families.choices",
        "ExportResult": ".proof.certified",
        "Variant": ".graph.variant",
        "VerifyRequest": ".proof.verify",
        "adapt_legacy_model": ".live.adapt",
        "export_checkpoint": ".export",
        "export_model": ".user.export",
        "load_checkpoint": ".reading.checkpoint",
        "load_legacy_model_with_gate_tracking": ".live.load",
        "restore_legacy_model": ".live.adapt",
    },
)
