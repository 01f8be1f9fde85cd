"""Memory in which one thread reads array after array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Scratch:
    """Gives out arrays, all of which are given out again after :meth:`reset`; for one thread.

    Large arrays that are made and dropped time and again go back to the system each time, which then clears
    their memory each time: that takes longer than reading features from its file cache.
    """

    def __init__(self) -> None:
        self._blocks: list[NDArray[np.uint8]] = []
        self._used = 0

    def reset(self) -> None:
        """What was given out is not looked at any more."""
        self._used = 0

    def empty(self, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array of ``count`` values of ``dtype`` that holds anything."""
        size = count * dtype.itemsize
        if self._used == len(self._blocks):
            self._blocks.append(np.empty(size, np.uint8))
        elif self._blocks[self._used].size < size:
            self._blocks[self._used] = np.empty(size, np.uint8)
        block = self._blocks[self._used]
        self._used += 1
        return block[:size].view(dtype)
