"""What of a video's counts tells faults apart: a few numbers a row, all on comparable scales.

Of each row: the mean gate, its spread over the video, and its change from clip to clip, each as a share of
the range; the shares near zero and saturated; and the share in each of eight equal parts of the range.
Changes from clip to clip and from neighbour to neighbour are what audio that is shifted or not the video's
own moves.
"""

from __future__ import annotations

import numpy as np

from ...array_types import Float64s
from ..counting.layout import COUNTED_BINS, GateLayout
from ..counting.videos import VideoCounts

_PARTS = 8
#: Features of one row, in order.
NAMES = (
    "mean",
    "spread",
    "variation",
    "near_zero",
    "saturated",
    *(f"part{part}" for part in range(_PARTS)),
)


def gate_features(layout: GateLayout, counts: VideoCounts) -> Float64s:
    """(N, R · 13); 0 for a row without a finite value. In-graph summaries have no ``variation``."""
    n = np.maximum(counts.count, 1)
    width = np.maximum(layout.high - layout.low, 1e-12)
    places = counts.places.astype(np.float64)
    inside = places[..., 1:-1].copy()
    inside[..., 0] += places[..., 0]
    inside[..., -1] += places[..., -1]
    parts = inside.reshape(*inside.shape[:-1], _PARTS, COUNTED_BINS // _PARTS).sum(axis=-1) / n[..., None]
    own = [
        counts.sum_of("sum") / n / width,
        np.sqrt(np.maximum(counts.sum_of("squares"), 0) / n) / width,
        counts.sum_of("variation") / n / width,
        counts.counter("near_zero") / n,
        counts.counter("saturated") / n,
    ]
    table = np.concatenate([np.stack(own, axis=-1), parts], axis=-1)
    return np.nan_to_num(table.reshape(len(counts), len(layout) * len(NAMES)))
