"""Videos as the monitor saw them: when, which, and their gates as counts; one, and a block of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

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


@dataclass(frozen=True, eq=False)
class ObservedVideos(Sequence[ObservedVideo]):
    """N videos in the order they came, column by column; a row is an :class:`ObservedVideo` without a copy.

    - ``times``, ``ids``, ``slices``, ``clips``: N each. ``counts``: of all. ``gates``: by row, for those
      whose gates are kept whole.
    """

    times: Sequence[int]
    ids: Sequence[str]
    slices: Sequence[str]
    clips: Sequence[int]
    counts: VideoCounts
    gates: Mapping[int, Mapping[str, NDArray[np.float32]]] = field(default_factory=dict[int, Any])

    @classmethod
    def of(cls, videos: Sequence[ObservedVideo]) -> ObservedVideos:
        """A block of ``videos``, of which there must be at least one; a block is given back as it is."""
        if isinstance(videos, ObservedVideos):
            return videos
        counts = VideoCounts(
            np.stack([one.integers for one in videos]), np.stack([one.sums for one in videos])
        )
        return cls(
            [one.time for one in videos],
            [one.sample_id for one in videos],
            [one.slice for one in videos],
            [one.clips for one in videos],
            counts,
            {row: one.gates for row, one in enumerate(videos) if one.gates is not None},
        )

    def __len__(self) -> int:
        return len(self.times)

    @overload
    def __getitem__(self, row: int) -> ObservedVideo: ...
    @overload
    def __getitem__(self, row: slice) -> list[ObservedVideo]: ...
    def __getitem__(self, row: int | slice) -> ObservedVideo | list[ObservedVideo]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        at = range(len(self))[row]
        return ObservedVideo(
            self.times[at],
            self.ids[at],
            self.slices[at],
            self.clips[at],
            self.counts.integers[at],
            self.counts.sums[at],
            self.gates.get(at),
        )
