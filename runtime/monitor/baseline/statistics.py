"""What is measured of a window of videos against the baseline, all of it from sums of counts.

Continuous, one a row:

- ``drift``: the Wasserstein-1 distance of the two distributions over the 64 bins, as a share of the range;
  values beyond the range count in its outermost bins. The mean distance of the two cumulative histograms.
- ``level``: the mean gate less the baseline's mean, as a share of the range.

Flags, how many videos of the window as a whole are saturated, collapsed to zero, constant over their clips,
or hold a value that is no finite number (``nan``), one a row; and ``frozen``, one for the window: videos
whose gates equal those of the video before, to the last bit. Rare values are counted by video and not by
clip, because those of one video come together: the share of saturated clips in a window is that of a few
videos.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...array_types import Float64s
from ..alarm import AlarmKind
from ..counting.layout import COUNTED_BINS, GateLayout
from ..counting.videos import VideoCounts

CONTINUOUS: tuple[AlarmKind, ...] = ("drift", "level")
#: Flags that are looked for in every row, and the counter each comes from.
ROW_FLAGS: dict[AlarmKind, str] = {
    "saturation": "saturating",
    "collapse": "collapsed",
    "constant": "constant",
}

# Columns that add up over videos: the cumulative histogram, the sum of gates, how many values.
STATISTIC_COLUMNS = COUNTED_BINS + 2
_SUM, _COUNT = COUNTED_BINS, COUNTED_BINS + 1


def additive(counts: VideoCounts) -> Float64s:
    """What the continuous statistics need of each video, (N, R, 66): it adds up over videos."""
    places = counts.places.astype(np.float64)
    inside = places[..., 1:-1].copy()
    inside[..., 0] += places[..., 0]
    inside[..., -1] += places[..., -1]
    table = np.empty((*places.shape[:-1], STATISTIC_COLUMNS))
    np.cumsum(inside, axis=-1, out=table[..., :COUNTED_BINS])
    table[..., _SUM] = counts.sum_of("sum")
    table[..., _COUNT] = table[..., COUNTED_BINS - 1]
    return table


def continuous(layout: GateLayout, window: Float64s, baseline: Float64s) -> Float64s:
    """``drift`` and ``level`` of every row, (…, 2, R).

    ``window`` (…, R, 66) and ``baseline`` (R, 66): sums of :func:`additive`. Where a row has no finite value
    in one of them, its statistics are 0: its NaN are counted elsewhere.
    """
    n, of = window[..., _COUNT], baseline[..., _COUNT]
    known = (n > 0) & (of > 0)
    n, of = np.maximum(n, 1), np.maximum(of, 1)
    width = np.maximum(layout.high - layout.low, 1e-12)
    shares = window[..., :COUNTED_BINS] / n[..., None]
    shares -= baseline[..., :COUNTED_BINS] / of[..., None]
    drift = np.abs(shares, out=shares).mean(axis=-1)
    level = (window[..., _SUM] / n - baseline[..., _SUM] / of) / width
    return np.where(known[..., None, :], np.stack([drift, level], axis=-2), 0.0)


def levels(sums: Float64s) -> Float64s:
    """Mean gate of every row, (…, R); ``sums`` (…, R, 66)."""
    return sums[..., _SUM] / np.maximum(sums[..., _COUNT], 1)


def flagged(counts: VideoCounts, kind: AlarmKind) -> NDArray[np.bool_]:
    """Which videos have the flag ``kind`` (of :data:`ROW_FLAGS`, or ``nan``) in which row, (N, R)."""
    if kind == "nan":
        found: NDArray[Any] = counts.counter("nan") + counts.counter("infinite")
        return found > 0
    return counts.counter(ROW_FLAGS[kind]) > 0
