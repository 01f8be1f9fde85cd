"""The gates of one batch as a tracker holds them: numpy arrays, and which of their clips are valid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What Python and numpy need for an array besides its numbers: dominates for global gates.
_ARRAY_BYTES = 200
_BATCH_BYTES = 1000


@dataclass(frozen=True, eq=False)
class TrackedBatch:
    """The gates of one batch of B samples, of which the longest has L clips.

    - ``gates``: by kind, one float32 array (B, L | 1, 1 | d) a layer, as the model computed them: entries of
      padding clips are there too, and mean nothing.
    - ``clips``: how many clips of each sample are valid, the first ones. ``length``: L.
    - ``gating``: ``global``, ``clipwise``, …. ``hidden_dim``: channels of the fused stream, None where
      nobody knows.
    """

    gates: dict[str, tuple[NDArray[np.float32], ...]]
    clips: tuple[int, ...]
    length: int
    gating: str
    hidden_dim: int | None = None

    @property
    def size(self) -> int:
        """How many samples it holds."""
        return len(self.clips)

    @property
    def bytes(self) -> int:
        """How much memory it takes, about."""
        arrays = [array for layers in self.gates.values() for array in layers]
        return _BATCH_BYTES + sum(array.nbytes + _ARRAY_BYTES for array in arrays)

    def split(self) -> Iterator[TrackedBatch]:
        """Each sample as a batch of its own, without its padding."""
        for row, clips in enumerate(self.clips):
            gates = {
                kind: tuple(array[row : row + 1, :clips].copy() for array in layers)
                for kind, layers in self.gates.items()
            }
            yield replace(self, gates=gates, clips=(clips,), length=clips)

    def valid(self, kind: str, layer: int) -> NDArray[np.float32]:
        """The gates of ``kind`` in ``layer`` at valid clips, flat."""
        array = self.gates[kind][layer]
        if array.shape[1] == 1 or min(self.clips) == self.length:
            return array.ravel()
        return np.concatenate([array[row, :clips].ravel() for row, clips in enumerate(self.clips)])

    def entry(self) -> dict[str, Any]:
        """Under the keys users' scripts read: ``attention_gates``, ``ffn_gates``, ``layer_info``."""
        layers = max((len(arrays) for arrays in self.gates.values()), default=0)
        info = [
            {
                "layer_idx": layer,
                "gating_type": self.gating,
                "sequence_length": self.length,
                "batch_size": self.size,
                "hidden_dim": self.hidden_dim,
            }
            for layer in range(layers)
        ]
        return {**{f"{kind}_gates": list(arrays) for kind, arrays in self.gates.items()}, "layer_info": info}
