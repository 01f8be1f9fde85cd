"""The last videos of one stream of traffic: each id once, the newest first to be asked for and last to go."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ...array_types import Float64s
from ..counting.layout import GateLayout
from ..counting.observed import ObservedVideo
from ..counting.videos import INTEGERS, SUMS, VideoCounts
from ..detectors import FLAGS, STATISTIC_COLUMNS, additive, flagged

# Videos without an id may well be the same video asked for twice. Only a window full of them is frozen.
_NAMELESS_FROZEN = 0.9


def window_sums(counts: VideoCounts) -> tuple[Float64s, NDArray[np.int64]]:
    """Of all videos of ``counts``: the sum of ``additive`` (R, 66), and how many have each flag (F, R)."""
    return additive(counts).sum(axis=0), flagged(counts).sum(axis=0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class JudgedVideo:
    """A video and what the detectors make of it.

    - ``key``: what distinguishes it from others. ``segment``: the log segment that holds it.
    - ``additive`` (R, 66), ``flags`` (F, R), ``broken``: whether one of them is never by chance. ``frozen``:
      its gates are those of the video before, to the last bit.
    """

    key: object
    video: ObservedVideo
    segment: str
    additive: Float64s
    flags: NDArray[np.bool_]
    broken: bool
    frozen: bool


class VideoWindow:
    """The last ``size`` different videos. A video that is asked for again counts once, as it is now."""

    def __init__(self, layout: GateLayout, size: int) -> None:
        rows = len(layout)
        self.size = size
        self._additive = np.zeros((size, rows, STATISTIC_COLUMNS))
        self._flags = np.zeros((size, len(FLAGS), rows), np.bool_)
        self._frozen = np.zeros(size, np.bool_)
        self._nameless = np.zeros(size, np.bool_)
        self._integers = np.zeros((size, rows, INTEGERS), np.int64)
        self._sums = np.zeros((size, rows, len(SUMS)))
        self._free = list(range(size))
        # By key: its place in the arrays. Oldest first.
        self._places: OrderedDict[object, int] = OrderedDict()
        self._told: list[tuple[str, float, str]] = [("", 0.0, "")] * size
        # When each came, counted in arrivals.
        self._arrived = np.zeros(size, np.int64)
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._places)

    def add(self, seen: JudgedVideo) -> None:
        """Take in a video, in place of what it was before."""
        place = self._places.pop(seen.key, None)
        if place is None:
            place = self._free.pop() if self._free else self._places.popitem(last=False)[1]
        self._places[seen.key] = place
        self._additive[place] = seen.additive
        self._flags[place] = seen.flags
        self._frozen[place] = seen.frozen
        self._nameless[place] = not seen.video.sample_id
        self._integers[place] = seen.video.integers
        self._sums[place] = seen.video.sums
        self._told[place] = (seen.video.sample_id, seen.video.time / 1e9, seen.segment)
        self._arrivals += 1
        self._arrived[place] = self._arrivals

    def keep(self, newest: int) -> None:
        """Forget all but the ``newest`` videos."""
        for _ in range(len(self._places) - newest):
            self._free.append(self._places.popitem(last=False)[1])

    def last(self, videos: int) -> NDArray[np.intp]:
        """Places of the newest ``videos``, newest first."""
        return np.fromiter(islice(reversed(self._places.values()), videos), np.intp)

    def renewed(self, videos: int, since: int) -> bool:
        """Whether all of the newest ``videos`` came after the first ``since`` arrivals."""
        return bool(len(self) >= videos and self._arrived[self.last(videos)[-1]] > since)

    def sums(self, places: NDArray[np.intp]) -> tuple[Float64s, NDArray[np.int64], int]:
        """Of the videos at ``places``: the sum of ``additive`` (R, 66), of flags (F, R), of frozen ones."""
        frozen, nameless = self._frozen[places], self._nameless[places]
        surely, perhaps = int((frozen & ~nameless).sum()), int((frozen & nameless).sum())
        if perhaps >= math.ceil(_NAMELESS_FROZEN * len(places)):
            surely += perhaps
        return self._additive[places].sum(axis=0), self._flags[places].sum(axis=0, dtype=np.int64), surely

    def counts(self, places: NDArray[np.intp]) -> VideoCounts:
        """The counts of the videos at ``places``."""
        return VideoCounts(self._integers[places], self._sums[places])

    def additive(self, places: NDArray[np.intp]) -> Float64s:
        """(N, R, 66)."""
        return self._additive[places]

    def flags(self, places: NDArray[np.intp]) -> NDArray[np.bool_]:
        """(N, F, R)."""
        return self._flags[places]

    def told(self, places: NDArray[np.intp]) -> list[tuple[str, float, str]]:
        """Sample id, Unix seconds and segment of the videos at ``places``."""
        return [self._told[place] for place in places]
