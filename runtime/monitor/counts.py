"""What is kept of a stream of gates: integer counts that merge exactly, and moments that merge to rounding.

All layers of one kind of gate are counted together, because a request brings them together. Counts are 64
equal bins over each layer's range, with under- and overflow, NaN and infinities, values at the very ends,
on the rails, saturated, and near zero. Any split of a stream, merged in any order, gives the same integers;
mean and squares are merged by Chan, Golub and LeVeque (1983).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import GatescopeError
from ..manifest import SUMMARY_BINS, SUMMARY_FIELDS, Manifest
from ..statistics.limits import NEAR_ZERO, GateLimits, limits_of

BINS = SUMMARY_BINS
#: Underflow, the bins, overflow.
PLACES = BINS + 2
# Integer columns of a layer, in the order in which they are stored.
COUNTERS = ("nan", "infinite", "at_low", "at_high", "rails", "saturated", "near_zero")

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class KindLimits:
    """Ranges and thresholds of one kind of gate, arrays over layers."""

    low: Floats
    high: Floats
    saturated_low: Floats
    saturated_high: Floats
    rails_low: Floats
    rails_high: Floats

    @classmethod
    def of(cls, limits: Sequence[GateLimits]) -> KindLimits:
        """From each layer's own limits, in order."""
        names = ("low", "high", "saturated_low", "saturated_high", "rails_low", "rails_high")
        return cls(*(np.array([getattr(one, name) for one in limits]) for name in names))

    @classmethod
    def of_manifest(cls, manifest: Manifest, kind: str) -> KindLimits:
        """Of the gates of ``kind`` that ``manifest`` declares."""
        layers = sorted({gate.layer for gate in manifest.gates if gate.kind == kind})
        return cls.of([limits_of(manifest, layer, kind) for layer in layers])

    @property
    def layers(self) -> int:
        """How many."""
        return len(self.low)

    @property
    def edges(self) -> Floats:
        """Edges of each layer's bins, (layers, 65)."""
        return np.linspace(self.low, self.high, BINS + 1, axis=1)


class GateCounts:
    """Counts and moments of one kind of gate, each an array over layers.

    - ``places`` (layers, 66) int64: values below the range, in each of 64 bins, above it.
    - ``counters`` (layers, 7) int64: the columns of :data:`COUNTERS`.
    - ``count``, ``mean``, ``squares`` (layers,): finite values, their mean, the sum of squared distances from
      it (M2). ``positive``, ``negative`` (layers,): sums of positive and of negative values.
    - ``lowest``, ``highest`` (layers,): extremes; +∞ and -∞ where there is no value.
    """

    def __init__(self, limits: KindLimits) -> None:
        n = limits.layers
        self.limits = limits
        self.places: Ints = np.zeros((n, PLACES), np.int64)
        self.counters: Ints = np.zeros((n, len(COUNTERS)), np.int64)
        self.count: Ints = np.zeros(n, np.int64)
        self.mean: Floats = np.zeros(n)
        self.squares: Floats = np.zeros(n)
        self.positive: Floats = np.zeros(n)
        self.negative: Floats = np.zeros(n)
        self.lowest: Floats = np.full(n, np.inf)
        self.highest: Floats = np.full(n, -np.inf)

    def update(self, values: NDArray[np.float32]) -> None:
        """Add the values of all layers, (layers, …), valid entries only."""
        limits = self.limits
        flat = values.reshape(limits.layers, -1).astype(np.float64)
        if flat.shape[1] == 0:
            return
        finite = np.isfinite(flat)
        if not finite.all():
            nan = np.isnan(flat).sum(1)
            self._counter("nan", nan)
            self._counter("infinite", (~finite).sum(1) - nan)
        known = flat if finite.all() else np.where(finite, flat, 0.0)
        low, high = limits.low[:, None], limits.high[:, None]
        width = np.where(high > low, high - low, 1.0)
        place = np.clip((known - low) * (BINS / width), 0, BINS - 1).astype(np.int64) + 1
        place[known < low] = 0
        place[known > high] = PLACES - 1
        place += np.arange(limits.layers)[:, None] * PLACES
        counted = np.bincount(place[finite], minlength=limits.layers * PLACES)
        self.places += counted.reshape(limits.layers, PLACES)
        for name, which in (
            ("at_low", known <= low),
            ("at_high", known >= high),
            ("rails", _beyond(known, limits.rails_low, limits.rails_high)),
            ("saturated", _beyond(known, limits.saturated_low, limits.saturated_high)),
            ("near_zero", np.abs(known) < NEAR_ZERO),
        ):
            self._counter(name, (which & finite).sum(1))
        count = finite.sum(1)
        mean = known.sum(1) / np.maximum(count, 1)
        distance = np.where(finite, flat - mean[:, None], 0.0)
        squares = (distance * distance).sum(1)
        self.positive += np.maximum(known, 0).sum(1)
        self.negative += np.minimum(known, 0).sum(1)
        self.lowest = np.minimum(self.lowest, np.where(finite, flat, np.inf).min(1))
        self.highest = np.maximum(self.highest, np.where(finite, flat, -np.inf).max(1))
        self._merge_moments(count, mean, squares)

    def update_summaries(self, fields: NDArray[np.float32]) -> None:
        """Add one sample's in-graph statistics, (layers, fields) in the order of ``SUMMARY_FIELDS``.

        Saturated and near-zero values are counted by the bins that lie wholly in those regions; at the ends
        the rails are known, single values at the very ends are not. Moments have float32's precision. A
        sample with NaN has NaN statistics: all its values count as NaN.
        """
        names = {name: i for i, name in enumerate(SUMMARY_FIELDS)}
        wide = fields.astype(np.float64)
        broken: NDArray[np.bool_] = np.any(~np.isfinite(wide), axis=1)
        count = np.nan_to_num(wide[:, names["count"]]).astype(np.int64)
        self._counter("nan", np.where(broken, np.maximum(count, 1), 0))
        wide = np.where(broken[:, None], 0.0, wide)
        count = np.where(broken, 0, count)
        bins = wide[:, names["bin_0"] :].round().astype(np.int64)
        self.places[:, 1:-1] += bins
        rails = (wide[:, names["rail_low"]] + wide[:, names["rail_high"]]).round().astype(np.int64)
        self._counter("rails", rails)
        edges, limits = self.limits.edges, self.limits
        saturated = (edges[:, 1:] <= limits.saturated_low[:, None]) | (
            edges[:, :-1] >= limits.saturated_high[:, None]
        )
        near = (edges[:, :-1] > -NEAR_ZERO) & (edges[:, 1:] < NEAR_ZERO)
        self._counter("saturated", (bins * saturated).sum(1))
        self._counter("near_zero", (bins * near).sum(1))
        total, absolute = wide[:, names["sum"]], wide[:, names["sum_abs"]]
        self.positive += (absolute + total) / 2
        self.negative += (total - absolute) / 2
        there = count > 0
        mean = total / np.maximum(count, 1)
        squares = np.maximum(wide[:, names["sum_squares"]] - mean * total, 0.0)
        self.lowest = np.minimum(self.lowest, np.where(there, wide[:, names["min"]], np.inf))
        self.highest = np.maximum(self.highest, np.where(there, wide[:, names["max"]], -np.inf))
        self._merge_moments(count, mean, squares)

    def merge(self, other: GateCounts) -> None:
        """Add what ``other`` has counted; both must be of the same gates."""
        if not np.array_equal(self.limits.edges, other.limits.edges):
            raise GatescopeError(
                "counts of different gates cannot be merged",
                received=f"{other.limits.layers} layers with ranges {_ranges(other.limits)}",
                expected=f"{self.limits.layers} layers with ranges {_ranges(self.limits)}",
            )
        self.places += other.places
        self.counters += other.counters
        self.positive += other.positive
        self.negative += other.negative
        self.lowest = np.minimum(self.lowest, other.lowest)
        self.highest = np.maximum(self.highest, other.highest)
        self._merge_moments(other.count, other.mean, other.squares)

    def counter(self, name: str) -> Ints:
        """One of :data:`COUNTERS`, (layers,)."""
        return self.counters[:, COUNTERS.index(name)]

    def to_plain(self) -> dict[str, Any]:
        """Lists and numbers, for JSON; floats survive unchanged."""
        plain: dict[str, Any] = {
            name: getattr(self, name).tolist()
            for name in ("places", "counters", "count", "mean", "squares", "positive", "negative")
        }
        for name in ("lowest", "highest"):
            plain[name] = [value if np.isfinite(value) else None for value in getattr(self, name).tolist()]
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], limits: KindLimits) -> GateCounts:
        """The counts that :meth:`to_plain` gave; raises ``ValueError`` for shapes that do not fit."""
        counts = cls(limits)
        for name, empty in (("lowest", np.inf), ("highest", -np.inf)):
            stored = cast(list[float | None], plain[name])
            setattr(counts, name, np.array([empty if value is None else value for value in stored]))
        for name in ("places", "counters", "count", "mean", "squares", "positive", "negative"):
            old = getattr(counts, name)
            new = np.array(plain[name], dtype=old.dtype)
            if new.shape != old.shape:
                raise ValueError(f"{name} has shape {new.shape}, expected {old.shape}")
            setattr(counts, name, new)
        return counts

    def _counter(self, name: str, more: NDArray[Any]) -> None:
        self.counters[:, COUNTERS.index(name)] += more

    def _merge_moments(self, count: NDArray[Any], mean: Floats, squares: Floats) -> None:
        total = self.count + count
        some = np.maximum(total, 1)
        distance = np.where(count > 0, mean - self.mean, 0.0)
        self.squares += np.where(count > 0, squares, 0.0) + distance * distance * self.count * count / some
        self.mean += distance * count / some
        self.count = total


@dataclass(eq=False)
class WindowState:
    """Everything counted over a stretch of traffic.

    - ``gates``: by (slice, kind); the slice is ``""`` for all traffic together.
    - ``samples``, ``videos``, ``silent``: requests, distinct videos as far as known, requests with silent
      audio, by slice. ``first_time``, ``last_time``: seconds since the epoch, NaN before the first request.
    - ``losses``: what monitoring itself lost or got wrong, by reason.
    """

    gates: dict[tuple[str, str], GateCounts] = field(default_factory=dict[tuple[str, str], GateCounts])
    samples: dict[str, int] = field(default_factory=dict[str, int])
    videos: dict[str, int] = field(default_factory=dict[str, int])
    silent: dict[str, int] = field(default_factory=dict[str, int])
    first_time: float = float("nan")
    last_time: float = float("nan")
    losses: dict[str, int] = field(default_factory=dict[str, int])

    def merge(self, other: WindowState) -> None:
        """Add what ``other`` has counted."""
        for key, counts in other.gates.items():
            if key not in self.gates:
                self.gates[key] = GateCounts(counts.limits)
            self.gates[key].merge(counts)
        for mine, theirs in (
            (self.samples, other.samples),
            (self.videos, other.videos),
            (self.silent, other.silent),
            (self.losses, other.losses),
        ):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count
        self.first_time = float(np.fmin(self.first_time, other.first_time))
        self.last_time = float(np.fmax(self.last_time, other.last_time))


def _ranges(limits: KindLimits) -> str:
    return ", ".join(f"[{low:g}, {high:g}]" for low, high in zip(limits.low, limits.high, strict=True))


def _beyond(values: Floats, low: Floats, high: Floats) -> NDArray[np.bool_]:
    """Which values (layers, n) are at or beyond either threshold of their layer."""
    return (values <= low[:, None]) | (values >= high[:, None])
