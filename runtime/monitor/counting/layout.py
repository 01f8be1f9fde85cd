"""Which gates are watched: the rows that every count of the monitor has, in one fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...array_types import Float64s
from ...gates.manifest import Manifest
from ...gates.vocabulary import SUMMARY_BINS
from ...statistics.limits import GateLimits, limits_of

COUNTED_BINS = SUMMARY_BINS
#: Underflow, the bins, overflow.
PLACES = COUNTED_BINS + 2


@dataclass(frozen=True)
class GateRow:
    """One gate: its ``kind``, its fusion ``layer``, and the thresholds of its range."""

    kind: str
    layer: int
    limits: GateLimits

    @property
    def name(self) -> str:
        """``attention.2``, as alarms and figures call it."""
        return f"{self.kind}.{self.layer}"


@dataclass(frozen=True)
class GateLayout:
    """The gates of one model, R rows: all layers of one kind, then all of the next."""

    rows: tuple[GateRow, ...]

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> GateLayout:
        """Every gate that ``manifest`` declares, kinds in its order and layers ascending."""
        return cls(
            tuple(
                GateRow(kind, layer, limits_of(manifest, layer, kind))
                for kind in manifest.gate_kinds
                for layer in sorted({gate.layer for gate in manifest.gates if gate.kind == kind})
            )
        )

    @classmethod
    def of(cls, ranges: Sequence[tuple[str, int, float, float]]) -> GateLayout:
        """From (kind, layer, low, high), in order."""
        return cls(tuple(GateRow(kind, layer, GateLimits.of(low, high)) for kind, layer, low, high in ranges))

    @cached_property
    def kinds(self) -> dict[str, slice]:
        """The rows of each kind."""
        names = [row.kind for row in self.rows]
        return {
            kind: slice(names.index(kind), names.index(kind) + names.count(kind))
            for kind in dict.fromkeys(names)
        }

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the rows."""
        return tuple(row.name for row in self.rows)

    @cached_property
    def ranges(self) -> tuple[tuple[str, int, float, float], ...]:
        """(kind, layer, low, high) of every row: what :meth:`of` takes."""
        return tuple((row.kind, row.layer, row.limits.low, row.limits.high) for row in self.rows)

    @cached_property
    def low(self) -> Float64s:
        """Lower ends of the ranges (R,)."""
        return self._limit("low")

    @cached_property
    def high(self) -> Float64s:
        """Upper ends of the ranges (R,)."""
        return self._limit("high")

    @cached_property
    def edges(self) -> Float64s:
        """Edges of each row's bins, (R, 65)."""
        return np.linspace(self.low, self.high, COUNTED_BINS + 1, axis=1)

    def _limit(self, name: str) -> Float64s:
        return np.array([getattr(row.limits, name) for row in self.rows], np.float64)

    def __len__(self) -> int:
        return len(self.rows)
