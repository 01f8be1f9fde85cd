"""How fast a GPU could be at best: the bytes that must cross the bus, the arithmetic that must be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Floor:
    """A batch cannot take less than ``seconds``, because of ``what``."""

    what: str
    seconds: float

    def reached(self, seconds: float) -> float:
        """How much of the possible speed a batch that took ``seconds`` had, 1 at the floor."""
        return self.seconds / seconds


def bus_floor(batch: Mapping[str, np.ndarray], bytes_per_second: float) -> Floor:
    """Copying the inputs of one batch to the GPU."""
    size = sum(array.nbytes for array in batch.values())
    return Floor(
        f"{size / 1e6:.1f} MB over the bus at {bytes_per_second / 1e9:.1f} GB/s", size / bytes_per_second
    )


def arithmetic_floors(flops_a_sample: int, samples: int, rates: Mapping[str, float]) -> list[Floor]:
    """The products of the unoptimised model for one batch, at each precision's measured rate (FLOP/s)."""
    flops = flops_a_sample * samples
    return [
        Floor(f"{flops / 1e9:.0f} GFLOP at {rate / 1e12:.1f} TFLOP/s, {name}", flops / rate)
        for name, rate in rates.items()
    ]


def largest_differences(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], clips: np.ndarray
) -> dict[str, float]:
    """Largest difference by output, valid clips only; ``clips`` (B,) is each sample's number of them.

    An axis of clips is as long as the longest sample. NaN counts as infinitely far.
    """
    longest = int(clips.max())
    valid = np.arange(longest) < clips[:, None]
    found: dict[str, float] = {}
    for name, array in ours.items():
        difference = np.abs(array.astype(np.float64) - theirs[name])
        if name == "saliency_scores":
            difference = difference[valid]
        elif name.startswith("gate_") and difference.shape[2] == longest:
            difference = difference.transpose(0, 2, 1, 3)[valid]
        found[name] = float(np.nan_to_num(difference, nan=np.inf).max())
    return found
