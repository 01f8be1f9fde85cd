"""The mean of every gate over a dataset: per layer and kind, for elementwise gates per channel too."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

#: By kind, (layers, 1, channels | 1).
GateMeans = dict[str, NDArray[np.float64]]


class GateSums:
    """Sums over the valid clips of every sample; a global gate counts once a sample."""

    def __init__(self) -> None:
        self._sums: GateMeans = {}
        self._count: dict[str, int] = {}

    def update(self, gates: Mapping[str, NDArray[np.float32]], lengths: NDArray[np.intp]) -> None:
        """Add a batch: gates by kind (B, layers, L | 1, channels | 1), and each sample's ``lengths`` (B,)."""
        for kind, values in gates.items():
            clips = values.shape[2]
            valid = np.arange(clips)[None, :] < np.minimum(lengths, clips)[:, None]
            # Padding may hold anything, NaN too: it is left out, not multiplied by 0.
            real = np.where(valid[:, None, :, None], values, 0.0)
            total = real.sum(axis=(0, 2), dtype=np.float64)[:, None, :]
            self._sums[kind] = self._sums[kind] + total if kind in self._sums else total
            self._count[kind] = self._count.get(kind, 0) + int(valid.sum())

    def means(self) -> GateMeans:
        """The means of what was added."""
        return {kind: total / self._count[kind] for kind, total in self._sums.items()}
