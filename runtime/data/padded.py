"""A batch whose arrays are laid out before its samples are there, so that each is prepared into its place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..manifest import Preprocessing

Features = NDArray[np.float32]


class BatchMemory:
    """Arrays of batches that are done with, for batches to come.

    The system clears memory before it hands it out, which for a batch takes as long as reading its features.
    Not for several threads at once.
    """

    def __init__(self) -> None:
        self._free: dict[str, list[Features]] = {}

    def take(self, name: str, shape: tuple[int, ...]) -> Features:
        """An array of ``shape`` that holds anything; it is in use until :meth:`give_back`."""
        size = math.prod(shape)
        free = self._free.setdefault(name, [])
        while free:
            flat = free.pop()
            if flat.size >= size:
                return flat[:size].reshape(shape)
        return np.empty(size, np.float32).reshape(shape)

    def give_back(self, name: str, array: Features) -> None:
        """Nobody looks at ``array`` any more, which :meth:`take` gave."""
        flat = array.base
        assert isinstance(flat, np.ndarray)
        self._free[name].append(flat)


@dataclass(frozen=True, eq=False)
class PaddedBatch:
    """B samples as :func:`~gatescope.runtime.data.prepare.collate` pads them, their rows yet to be filled.

    - ``arrays``: ``src_vid``, ``src_aud`` (B, L, D), where the model takes text ``src_txt`` (B, T, D), and
      for each ``…_mask``. Padding is zero.
    - ``clips``, ``words``: of each sample.
    """

    arrays: dict[str, Features]
    clips: Sequence[int]
    words: Sequence[int]

    @classmethod
    def lay_out(
        cls,
        recipe: Preprocessing,
        clips: Sequence[int],
        words: Sequence[int],
        memory: BatchMemory,
        *,
        text: bool,
    ) -> PaddedBatch:
        """Without ``text`` there is no ``src_txt``."""
        arrays: dict[str, Features] = {}
        sources = [("src_vid", clips, recipe.video_width), ("src_aud", clips, recipe.audio_width)]
        if text:
            sources.append(("src_txt", words, recipe.text_width))
        for name, lengths, width in sources:
            longest = max(lengths)
            arrays[name] = memory.take(name, (len(lengths), longest, width))
            mask = np.arange(longest) < np.asarray(lengths)[:, None]
            arrays[f"{name}_mask"] = mask.astype(np.float32)
            for row, length in enumerate(lengths):
                arrays[name][row, length:] = 0
        return cls(arrays, clips, words)

    def release(self, memory: BatchMemory) -> None:
        """Give the memory back; the batch must not be looked at any more."""
        for name in ("src_vid", "src_aud", "src_txt"):
            if name in self.arrays:
                memory.give_back(name, self.arrays.pop(name))

    def clip_rows(self, row: int) -> tuple[Features, Features]:
        """Where the video (L, Dv) and the audio (L, Da) of sample ``row`` go."""
        length = self.clips[row]
        return self.arrays["src_vid"][row, :length], self.arrays["src_aud"][row, :length]

    def word_rows(self, row: int) -> Features:
        """Where the words (T, Dt) of sample ``row`` go."""
        return self.arrays["src_txt"][row, : self.words[row]]
