"""One video as the monitor saw it: when, which, and its gates as counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...array_types import Float64s
from .videos import Ints, VideoCounts

#: What slices beyond the bound on their number are called.
OTHER_SLICES = "other"


@dataclass(frozen=True, eq=False)
class ObservedVideo:
    """One sample of one request.

    - ``time``: Unix time in nanoseconds at which its request was answered, by the clock of its machine.
    - ``sample_id``: what the caller said it is, as text; empty where nothing was said.
    - ``slice``: the part of the traffic it belongs to, empty for none. ``clips``: valid ones.
    - ``integers`` (R, 76), ``sums`` (R, 4): its counts, as in :class:`VideoCounts`.
    - ``gates``: by kind, float32 (layers, clips | 1, 1 | channels), for the sampled share of videos whose
      gates are kept whole; else None.
    """

    time: int
    sample_id: str
    slice: str
    clips: int
    integers: Ints
    sums: Float64s
    gates: Mapping[str, NDArray[np.float32]] | None = None

    @classmethod
    def counts_of(cls, videos: Sequence[ObservedVideo]) -> VideoCounts:
        """The counts of several, in order; there must be at least one."""
        return VideoCounts(np.stack([one.integers for one in videos]), np.stack([one.sums for one in videos]))
