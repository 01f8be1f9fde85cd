"""Which model's gates are watched: what a baseline, a log and a session must agree on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import msgspec

from ..gates.manifest import Manifest
from .counting.layout import GateLayout


@dataclass(frozen=True)
class WatchedModel:
    """What decides the gates of a model, whichever of its outputs were exported.

    - ``checkpoint``: SHA-256 of the checkpoint, empty where nobody knows. ``file``: SHA-256 of the exported
      file, or empty; it may differ between exports of one model and is for people.
    - ``recipe``: SHA-256 of the preprocessing. ``gates``: (kind, layer, low, high) of every row.
    """

    checkpoint: str
    family: str
    gating: str
    batching: str
    precision: str
    recipe: str
    gates: tuple[tuple[str, int, float, float], ...]
    depends_on_text: bool
    file: str = ""

    @classmethod
    def of(cls, manifest: Manifest, file_sha256: str = "") -> WatchedModel:
        """The model that ``manifest`` describes."""
        return cls(
            checkpoint=manifest.checkpoint_sha256,
            family=manifest.family,
            gating=manifest.gating,
            batching=manifest.batching,
            precision=manifest.precision,
            recipe=hashlib.sha256(msgspec.json.encode(manifest.preprocessing)).hexdigest(),
            gates=GateLayout.of_manifest(manifest).ranges,
            depends_on_text=manifest.depends_on_text,
            file=file_sha256,
        )

    @cached_property
    def layout(self) -> GateLayout:
        """The rows of its counts."""
        return GateLayout.of(self.gates)

    @property
    def version(self) -> str:
        """Twelve letters that stand for it in metrics and messages."""
        return self.checkpoint[:12] or self.file[:12] or "unknown"

    def differences(self, other: WatchedModel) -> list[str]:
        """What of ``other`` is not as here, in words; empty where both give the same gates.

        Two files of one checkpoint are one model: a baseline from a ``tracked`` export serves a ``summary``
        export. Where no checkpoint is known the files decide.
        """
        pairs = [
            ("checkpoint", self.checkpoint[:12], other.checkpoint[:12]),
            ("family", self.family, other.family),
            ("gating", self.gating, other.gating),
            ("batching", self.batching, other.batching),
            ("precision", self.precision, other.precision),
            ("preprocessing", self.recipe[:12], other.recipe[:12]),
            ("gates", _ranges(self), _ranges(other)),
        ]
        if not self.checkpoint and self.file and other.file:
            pairs.append(("file", self.file[:12], other.file[:12]))
        different = [pair for pair in pairs if pair[1] != pair[2]]
        return [f"{name} {there or 'unknown'}, not {here or 'unknown'}" for name, here, there in different]


def _ranges(model: WatchedModel) -> str:
    return ", ".join(f"{kind}.{layer} [{low:g}, {high:g}]" for kind, layer, low, high in model.gates)
