"""Gates of each video as integers: where its values lie, how many are extreme, whether it stands out.

A *video* is what one request asks about; all its clips and channels are counted together, row by row of the
layout. Counts are 64 equal bins over the row's range, with under- and overflow, and the counters of
:data:`VIDEO_COUNTERS`. Sums are float64 beside them. Counts of videos add up exactly in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...array_types import Float64s
from ...gates.vocabulary import SUMMARY_FIELDS
from ...statistics.limits import NEAR_ZERO
from .layout import COUNTED_BINS, PLACES, GateLayout, GateRow

#: Values that are NaN, infinite, at the very ends, on the rails, saturated, near zero; then what the video as
#: a whole is, 0 or 1: ``constant`` over its clips, ``collapsed`` (99 % of its values near zero),
#: ``saturating`` (half of them saturated).
VIDEO_COUNTERS = (
    *("nan", "infinite", "at_low", "at_high", "rails", "saturated", "near_zero"),
    *("constant", "collapsed", "saturating"),
)
#: Sums over finite values: of g, of |g|, of squared distances from the video's own mean, and over its clips
#: of |G(t) − G(t−1)|, where G is the sum over channels.
SUMS = ("sum", "absolute", "squares", "variation")
INTEGERS = PLACES + len(VIDEO_COUNTERS)

#: A video is constant where its largest and smallest value differ by less than this share of the range.
CONSTANT = 1e-6
#: A video as a whole is collapsed from this share of values near zero on, saturating from that of saturated.
COLLAPSED, SATURATING = 0.99, 0.5

_FEW_VALUES = 64

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class VideoCounts:
    """Counts of N videos in R rows.

    - ``integers`` (N, R, 76) int64: 66 places (below the range, 64 bins, above it), then
      :data:`VIDEO_COUNTERS`.
    - ``sums`` (N, R, 4) float64: :data:`SUMS`. Of in-graph summaries ``variation`` is 0.
    """

    integers: Ints
    sums: Float64s

    def __len__(self) -> int:
        return len(self.integers)

    def __getitem__(self, which: slice | NDArray[Any] | Sequence[int]) -> VideoCounts:
        return VideoCounts(self.integers[which], self.sums[which])

    @property
    def places(self) -> Ints:
        """(N, R, 66)."""
        return self.integers[..., :PLACES]

    @property
    def count(self) -> Ints:
        """Finite values, (N, R)."""
        return self.places.sum(axis=-1)

    def counter(self, name: str) -> Ints:
        """One of :data:`VIDEO_COUNTERS`, (N, R)."""
        return self.integers[..., PLACES + VIDEO_COUNTERS.index(name)]

    def sum_of(self, name: str) -> Float64s:
        """One of :data:`SUMS`, (N, R)."""
        return self.sums[..., SUMS.index(name)]

    @classmethod
    def joined(cls, parts: Sequence[VideoCounts]) -> VideoCounts:
        """All videos of ``parts``, in order; ``parts`` must not be empty."""
        return cls(
            np.concatenate([part.integers for part in parts]), np.concatenate([part.sums for part in parts])
        )

    @classmethod
    def empty(cls, layout: GateLayout) -> VideoCounts:
        """No video."""
        return cls(
            np.zeros((0, len(layout), INTEGERS), np.int64), np.zeros((0, len(layout), len(SUMS)), np.float64)
        )


def count_gates(layout: GateLayout, gates: Mapping[str, NDArray[np.float32]]) -> VideoCounts:
    """Counts of N videos of equal length: by kind (N, layers, L | 1, 1 | d), valid clips only.

    Raises ``KeyError`` where a kind of the layout lacks, ``ValueError`` for other shapes.
    """
    parts = [
        _count_kind(layout, rows, np.asarray(gates[kind], np.float32)) for kind, rows in layout.kinds.items()
    ]
    return VideoCounts(
        np.concatenate([part.integers for part in parts], axis=1),
        np.concatenate([part.sums for part in parts], axis=1),
    )


def count_summaries(layout: GateLayout, summaries: Mapping[str, NDArray[np.float32]]) -> VideoCounts:
    """Counts of N videos from in-graph statistics, by kind (N, layers, fields) as ``SUMMARY_FIELDS``.

    Saturated and near-zero values are counted by the bins that lie wholly in those regions; of values at the
    very ends nothing is known. Sums have float32's precision. A video with NaN or Inf anywhere in a row's
    statistics has all its values there counted as NaN.
    """
    fields = np.concatenate(
        [np.asarray(summaries[kind], np.float64) for kind in layout.kinds], axis=1
    )  # (N, R, fields)
    if fields.shape[1:] != (len(layout), len(SUMMARY_FIELDS)):
        raise ValueError(
            f"summaries have shape {fields.shape}, expected (N, {len(layout)}, {len(SUMMARY_FIELDS)})"
        )
    broken = np.asarray(~np.isfinite(fields).all(axis=-1))
    integers = np.zeros((*fields.shape[:2], INTEGERS), np.int64)
    sums = np.zeros((*fields.shape[:2], len(SUMS)))
    count = np.rint(np.nan_to_num(fields[..., SUMMARY_FIELDS.index("count")], posinf=0.0, neginf=0.0)).astype(
        np.int64
    )
    known = np.where(broken[..., None], 0.0, fields)
    bins = np.rint(known[..., -COUNTED_BINS:]).astype(np.int64)
    integers[..., 1 : COUNTED_BINS + 1] = bins
    total, absolute, squares = (
        known[..., SUMMARY_FIELDS.index(name)] for name in ("sum", "sum_abs", "sum_squares")
    )
    valid = np.where(broken, 0, count)
    mean = total / np.maximum(valid, 1)
    sums[..., 0], sums[..., 1] = total, absolute
    sums[..., 2] = np.maximum(squares - mean * total, 0.0)
    edges = layout.edges
    limits = [row.limits for row in layout.rows]
    saturated_low = np.array([one.saturated_low for one in limits])[:, None]
    saturated_high = np.array([one.saturated_high for one in limits])[:, None]
    saturated = (edges[:, 1:] <= saturated_low) | (edges[:, :-1] >= saturated_high)
    near = (edges[:, :-1] > -NEAR_ZERO) & (edges[:, 1:] < NEAR_ZERO)
    _fill_counters(
        integers,
        {
            "nan": np.where(broken, np.maximum(count, 1), 0),
            "rails": np.rint(known[..., SUMMARY_FIELDS.index("rail_low")]).astype(np.int64)
            + np.rint(known[..., SUMMARY_FIELDS.index("rail_high")]).astype(np.int64),
            "saturated": (bins * saturated).sum(-1),
            "near_zero": (bins * near).sum(-1),
        },
        valid,
    )
    width = np.maximum(layout.high - layout.low, 1e-12)
    still = known[..., SUMMARY_FIELDS.index("max")] - known[..., SUMMARY_FIELDS.index("min")]
    integers[..., _place_of("constant")] = (still <= CONSTANT * width) & (valid > 1)
    return VideoCounts(integers, sums)


def _count_kind(layout: GateLayout, rows: slice, gates: NDArray[np.float32]) -> VideoCounts:
    own = layout.rows[rows]
    if gates.ndim != 4 or gates.shape[1] != len(own):
        raise ValueError(f"gates have shape {gates.shape}, expected (N, {len(own)}, clips | 1, channels | 1)")
    n, layers, clips, _ = gates.shape
    sums = np.zeros((n, layers, len(SUMS)))
    integers = np.zeros((n, layers, INTEGERS), np.int64)
    if gates.size == 0:
        return VideoCounts(integers, sums)
    values = np.ascontiguousarray(gates).reshape(n, layers, -1)
    with np.errstate(invalid="ignore", over="ignore"):
        clean = bool(np.isfinite(np.add.reduce(values, axis=None)))
    finite: NDArray[np.bool_] | None = None
    if not clean:
        finite = np.isfinite(values)
        nan = _count(np.isnan(values))
        integers[..., _place_of("nan")] = nan
        integers[..., _place_of("infinite")] = values.shape[2] - _count(finite) - nan
        values = np.where(finite, values, np.float32(0))
    count = np.full((n, layers), values.shape[2]) if finite is None else _count(finite)
    lowest, highest = values.min(-1), values.max(-1)

    def limit(name: str) -> NDArray[np.float32]:
        return np.array([getattr(row.limits, name) for row in own], np.float32)

    inside = bool(((lowest >= limit("low")) & (highest < limit("high"))).all())
    integers[..., :PLACES] = _places(own, values, finite, inside)

    steps = _over_channels(values, clips)
    sums[..., 0] = steps.sum(-1)
    size = np.abs(values)
    sums[..., 1] = _over_channels(size, clips).sum(-1)
    distance = values - (sums[..., 0] / np.maximum(count, 1)).astype(np.float32)[..., None]
    if finite is not None:
        distance *= finite
    distance *= distance
    sums[..., 2] = _over_channels(distance, clips).sum(-1)
    sums[..., 3] = np.abs(np.diff(steps, axis=-1)).sum(-1)

    def beyond(low: NDArray[np.float32], high: NDArray[np.float32]) -> Ints:
        # Most rows have nothing out there: their extremes say so without a look at every value.
        if not ((lowest <= low) | (highest >= high)).any():
            return np.zeros((n, layers), np.int64)
        outside = (values <= low[:, None]) | (values >= high[:, None])
        return _count(outside if finite is None else outside & finite)

    near = size < NEAR_ZERO
    nowhere = np.full(layers, np.inf, np.float32)
    _fill_counters(
        integers,
        {
            "at_low": beyond(limit("low"), nowhere),
            "at_high": beyond(-nowhere, limit("high")),
            "rails": beyond(limit("rails_low"), limit("rails_high")),
            "saturated": beyond(limit("saturated_low"), limit("saturated_high")),
            "near_zero": _count(near if finite is None else near & finite),
        },
        count,
    )
    if clips > 1:  # a single value for the whole video is no timeline that could stand still
        width = np.maximum(limit("high") - limit("low"), 1e-12)
        still = (highest.astype(np.float64) - lowest) <= CONSTANT * width
        integers[..., _place_of("constant")] = still & (count > 0)
    return VideoCounts(integers, sums)


def _places(
    rows: Sequence[GateRow],
    values: NDArray[np.float32],
    finite: NDArray[np.bool_] | None,
    inside: bool,
) -> Ints:
    """Counts below the range, in each bin and above it, (N, layers, 66), of ``values`` (N, layers, V).

    ``inside``: all are known to be at or above the lower end and below the upper one.
    """
    n, layers, _ = values.shape
    low = np.array([row.limits.low for row in rows])
    width = np.array([row.limits.high for row in rows]) - low
    width = np.where(width > 0, width, 1.0)
    if set(zip(low.tolist(), width.tolist(), strict=True)) <= {(-1.0, 2.0), (0.0, 1.0)}:
        # Scaling by a power of two and a whole offset are exact in float32, at half the price.
        place = values * (COUNTED_BINS / width).astype(np.float32)[:, None]
        np.floor(place, out=place)
        place += (1 - low * COUNTED_BINS / width).astype(np.float32)[:, None]
    else:
        place = np.floor((values.astype(np.float64) - low[:, None]) * (COUNTED_BINS / width)[:, None]) + 1
        np.clip(place, 1, COUNTED_BINS, out=place)  # rounding may put a value beside its range
        inside = False
    if not inside:
        # Against the ends in the gates' own precision: a gate at -0.3 is not below -0.3.
        bottom, top = (end.astype(np.float32)[:, None] for end in (low, low + width))
        place[values < bottom] = 0
        place[values > top] = PLACES - 1
        place[(values <= top) & (place > COUNTED_BINS)] = COUNTED_BINS
    if finite is not None:
        place[~finite] = PLACES
    keys = place.astype(np.int16 if n * layers * (PLACES + 1) < 2**15 else np.int32)
    keys += (np.arange(n * layers, dtype=keys.dtype) * (PLACES + 1)).reshape(n, layers, 1)
    counted = np.bincount(keys.reshape(-1), minlength=n * layers * (PLACES + 1))
    return counted.reshape(n, layers, PLACES + 1)[..., :PLACES]


def _fill_counters(integers: Ints, found: Mapping[str, NDArray[Any]], count: NDArray[Any]) -> None:
    """Put counters in place, and what follows from them for the video as a whole."""
    for name, values in found.items():
        integers[..., _place_of(name)] = values
    integers[..., _place_of("collapsed")] = found["near_zero"] >= np.maximum(COLLAPSED * count, 1)
    integers[..., _place_of("saturating")] = found["saturated"] >= np.maximum(SATURATING * count, 1)


def _place_of(counter: str) -> int:
    return PLACES + VIDEO_COUNTERS.index(counter)


def _over_channels(values: NDArray[np.float32], clips: int) -> Float64s:
    """Sums over the channels of each clip, (N, layers, clips), of ``values`` (N, layers, clips · channels).

    Over the channels in float32, which is precise to about 1e-6 of the sum and several times as fast.
    """
    channels = values.shape[2] // clips
    if channels == 1:
        return values.astype(np.float64)
    return (
        (values.reshape(-1, channels) @ np.ones(channels, np.float32))
        .reshape(*values.shape[:2], clips)
        .astype(np.float64)
    )


def _count(which: NDArray[np.bool_]) -> Ints:
    """How many are true along the last axis."""
    flat = which.reshape(-1, which.shape[-1])
    if flat.shape[1] > 4 * _FEW_VALUES:  # numpy counts a whole array far faster than along an axis
        counted = np.array([np.count_nonzero(row) for row in flat], np.int64)
    else:
        counted = np.add.reduce(flat, axis=1, dtype=np.int64)
    return counted.reshape(which.shape[:-1])
