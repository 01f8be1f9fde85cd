"""What a tracker counts without keeping gates: a few floats per kind and layer, for a training run's log."""

from __future__ import annotations

from collections.abc import Callable

from ..statistics.limits import GateLimits
from ..statistics.moments import Moments
from .batch import TrackedBatch

#: The statistics of every gate, in the order in which they come; fields of
#: :class:`~gatescope.runtime.statistics.moments.MomentSummary`.
SCALARS = ("mean", "std", "mean_abs", "share_saturated", "share_near_zero", "nan_count", "inf_count")
_NEEDS_RANGE = "share_saturated"


class ScalarTotals:
    """Accumulators of gates by kind and layer, over valid entries; what is added does not make them grow.

    ``limits`` of a kind and layer says from where a gate counts as saturated, None where nothing bounds it.
    It is asked when the first batch comes.
    """

    def __init__(self, limits: Callable[[str, int], GateLimits | None]) -> None:
        self._limits = limits
        self._moments: dict[tuple[str, int], Moments] = {}
        self._bounded: set[tuple[str, int]] = set()

    def update(self, batch: TrackedBatch) -> None:
        """Add the gates of a batch."""
        for kind, layers in batch.gates.items():
            for layer in range(len(layers)):
                if (kind, layer) not in self._moments:
                    self._begin(kind, layer)
                self._moments[kind, layer].update(batch.valid(kind, layer))

    def scalars(self) -> dict[str, float]:
        """``gate/{kind}/layer{layer}/{statistic}``: every kind after the other, its layers in order.

        ``share_saturated`` is left out where nothing bounds the gate. Empty where nothing was added.
        """
        found: dict[str, float] = {}
        for (kind, layer), moments in self._moments.items():
            summary = moments.finalise()
            for name in SCALARS:
                if name != _NEEDS_RANGE or (kind, layer) in self._bounded:
                    found[f"gate/{kind}/layer{layer}/{name}"] = float(getattr(summary, name))
        return found

    def _begin(self, kind: str, layer: int) -> None:
        known = self._limits(kind, layer)
        if known is not None:
            self._bounded.add((kind, layer))
        self._moments[kind, layer] = Moments(known or GateLimits.of(-1.0, 1.0))
