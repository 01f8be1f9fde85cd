"""When a gate counts as saturated, near zero or on the rails, given the range it can take."""

from __future__ import annotations

from dataclasses import dataclass

from ..gates.manifest import Manifest

NEAR_ZERO = 0.05
SATURATED = 0.95
RAILS = 1e-3


@dataclass(frozen=True)
class GateLimits:
    """The thresholds of one gate.

    A gate is *saturated* at or below ``saturated_low`` or at or above ``saturated_high``, on the *rails*
    at or below ``rails_low`` or at or above ``rails_high``.
    """

    low: float
    high: float
    saturated_low: float
    saturated_high: float
    rails_low: float
    rails_high: float

    @classmethod
    def of(cls, low: float, high: float) -> GateLimits:
        """Thresholds for a gate with values in [``low``, ``high``].

        A signed gate (tanh) is saturated from 95 % of either end, a one-sided one (sigmoid) in the
        outer 5 % of its scale at both ends.
        """
        if low < 0 < high:
            saturated = (SATURATED * low, SATURATED * high)
        else:
            margin = (1 - SATURATED) * (high - low)
            saturated = (low + margin, high - margin)
        return cls(low, high, *saturated, low + RAILS, high - RAILS)


def limits_of(manifest: Manifest, layer: int, kind: str) -> GateLimits:
    """Thresholds of the gate ``kind`` in ``layer``; of the whole kind where the layer is not declared."""
    for gate in manifest.gates:
        if gate.layer == layer and gate.kind == kind:
            return GateLimits.of(*gate.range)
    return GateLimits.of(*manifest.gate_range(kind))
