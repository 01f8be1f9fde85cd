"""What rules and dashboard are made for: one model, as its baseline knows it."""

from __future__ import annotations

from dataclasses import dataclass

from ..baseline.baseline import Baseline


@dataclass(frozen=True)
class AlertSubject:
    """``model``: its version, the label of its metrics. ``gates``: (kind, layer) of every row.

    ``windows``: sizes in videos, the smallest first. ``stale_seconds``: after how long traffic is stale.
    """

    model: str
    family: str
    gates: tuple[tuple[str, int], ...]
    windows: tuple[int, ...]
    stale_seconds: float = 300.0

    @classmethod
    def of(cls, baseline: Baseline, stale_seconds: float = 300.0) -> AlertSubject:
        """For the model of ``baseline``."""
        return cls(
            baseline.model.version,
            baseline.model.family,
            tuple((row.kind, row.layer) for row in baseline.layout.rows),
            baseline.windows,
            stale_seconds,
        )
