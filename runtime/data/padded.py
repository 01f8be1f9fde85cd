"""A batch whose arrays are laid out before its samples are there, so that each is prepared into its place."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..array_types import Float32s
from ..gates.preprocessing import Preprocessing

# NumPy asks for huge pages. Where the host of a virtual machine takes free memory back, they come slowly:
# three full-size batches took 350 ms, in ordinary pages 120 ms (8 and 40 ms in memory that is there already).
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
# Arrays begin at a multiple of so many numbers, 64 bytes: whole lines of the processor's cache.
_ALIGNED = 16


class BatchMemory:
    """Memory of batches that are done with, for batches to come.

    The system clears memory before it hands it out, which for a batch takes as long as reading its features.
    A batch has one block, which is large enough to go back to the system whole. Not for several threads at
    once.
    """

    def __init__(self) -> None:
        self._free: list[Float32s] = []

    def take(self, size: int) -> Float32s:
        """At least ``size`` numbers that hold anything; in use until :meth:`give_back`."""
        while self._free:
            block = self._free.pop()
            if block.size >= size:
                return block
        return np.frombuffer(mmap.mmap(-1, size * np.dtype(np.float32).itemsize, **_PRIVATE), np.float32)

    def give_back(self, block: Float32s) -> None:
        """Nobody looks any more at ``block``, which :meth:`take` gave."""
        self._free.append(block)


@dataclass(frozen=True, eq=False)
class PaddedBatch:
    """B samples as :func:`~gatescope.runtime.data.prepare.collate` pads them, their rows yet to be filled.

    - ``arrays``: ``src_vid``, ``src_aud`` (B, L, D), where the model takes text ``src_txt`` (B, T, D), and
      for each ``…_mask``. Padding is zero.
    - ``clips``, ``words``: of each sample. ``block``: what the features lie in.
    """

    arrays: dict[str, Float32s]
    clips: Sequence[int]
    words: Sequence[int]
    block: Float32s

    @classmethod
    def lay_out(
        cls,
        recipe: Preprocessing,
        clips: Sequence[int],
        words: Sequence[int],
        longest: tuple[int, int],
        memory: BatchMemory,
        *,
        text: bool,
    ) -> PaddedBatch:
        """``longest`` is (L, T), at least every sample's. Without ``text`` there is no ``src_txt``."""
        sources = [
            ("src_vid", clips, longest[0], recipe.video_width),
            ("src_aud", clips, longest[0], recipe.audio_width),
        ]
        if text:
            sources.append(("src_txt", words, longest[1], recipe.text_width))
        shapes = [(len(lengths), most, width) for _, lengths, most, width in sources]
        begins = np.cumsum([0, *(-(-math.prod(shape) // _ALIGNED) * _ALIGNED for shape in shapes)]).tolist()
        block = memory.take(begins[-1])
        arrays: dict[str, Float32s] = {}
        for (name, lengths, *_), shape, begin in zip(sources, shapes, begins, strict=False):
            arrays[name] = block[begin : begin + math.prod(shape)].reshape(shape)
            mask = np.arange(shape[1]) < np.asarray(lengths)[:, None]
            arrays[f"{name}_mask"] = mask.astype(np.float32)
            for row, length in enumerate(lengths):
                arrays[name][row, length:] = 0
        return cls(arrays, clips, words, block)

    def clip_rows(self, row: int) -> tuple[Float32s, Float32s]:
        """Where the video (L, Dv) and the audio (L, Da) of sample ``row`` go."""
        length = self.clips[row]
        return self.arrays["src_vid"][row, :length], self.arrays["src_aud"][row, :length]

    def word_rows(self, row: int) -> Float32s:
        """Where the words (T, Dt) of sample ``row`` go."""
        return self.arrays["src_txt"][row, : self.words[row]]
