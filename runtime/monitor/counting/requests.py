"""Requests as observed videos: cut to their valid clips, and counted together where lengths allow."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layout import GateLayout
from .observed import ObservedVideos
from .videos import VideoCounts, count_gates, count_summaries

# Counted at once: more would only hold memory for longer.
_MOST_TOGETHER = 64

RequestGates = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class TakenRequest:
    """What one request gave.

    - ``time``: Unix nanoseconds. ``gates``: by kind, (B, layers, L | 1, 1 | d), or with ``summaries``
      (B, layers, fields). ``mask``: (B, L), not zero where a clip is valid, or ``lengths``: valid clips of
      each sample; both None where all are.
    - ``ids``: one per sample, or None. ``slice``: empty for none.
    """

    time: int
    gates: Mapping[str, NDArray[Any]]
    summaries: bool
    mask: NDArray[Any] | None
    ids: tuple[str, ...] | None
    slice: str
    lengths: tuple[int, ...] | None = None

    @property
    def videos(self) -> int:
        """B."""
        return len(next(iter(self.gates.values()))) if self.gates else 0

    @cached_property
    def clips(self) -> tuple[int, ...] | None:
        """Valid ones of each sample, or None for all."""
        if self.lengths is not None or self.mask is None:
            return self.lengths
        return tuple(int(np.count_nonzero(row)) for row in self.mask)

    @property
    def bytes(self) -> int:
        """Of its arrays."""
        return sum(array.nbytes for array in self.gates.values())


def count_taken(
    layout: GateLayout,
    taken: Sequence[TakenRequest],
    keep_gates: float,
    tell: Callable[[int, Exception], None],
) -> ObservedVideos | None:
    """The videos of ``taken``, in order; None where there is none.

    ``keep_gates``: the share of them, drawn at random, whose gates are kept whole. A request that cannot be
    counted is left out: ``tell(its videos, the error)``.
    """
    whole: list[_Row] = []
    summarised: list[_Row] = []
    for number, one in enumerate(taken):
        try:
            rows = [_Row(number, row, one, _cut(layout, one, row)) for row in range(one.videos)]
        except Exception as error:  # whatever arrays a caller's session may give
            tell(one.videos, error)
        else:
            (summarised if one.summaries else whole).extend(rows)
    counted: list[_Row] = []
    parts: list[VideoCounts] = []
    for group, count in ((whole, count_gates), (summarised, count_summaries)):
        for together in _by_shape(group):
            try:
                stacked = {kind: np.stack([one.gates[kind] for one in together]) for kind in layout.kinds}
                parts.append(count(layout, stacked))
            except Exception as error:  # whatever arrays a caller's session may give
                tell(len(together), error)
            else:
                counted += together
    if not counted:
        return None
    counts = parts[0] if len(parts) == 1 else VideoCounts.joined(parts)
    order = sorted(range(len(counted)), key=lambda place: (counted[place].number, counted[place].row))
    if order != list(range(len(counted))):
        counted, counts = [counted[place] for place in order], counts[order]
    return ObservedVideos(
        [one.taken.time for one in counted],
        [one.taken.ids[one.row] if one.taken.ids else "" for one in counted],
        [one.taken.slice for one in counted],
        [one.clips for one in counted],
        counts,
        {
            # Its own copy: a sample must not keep its whole batch in memory.
            place: {kind: array.copy() for kind, array in one.gates.items()}
            for place, one in enumerate(counted)
            if not one.taken.summaries and random.random() < keep_gates
        },
    )


@dataclass(frozen=True, eq=False)
class _Row:
    """Sample ``row`` of the request ``taken``, the ``number``-th of a round, and its valid gates."""

    number: int
    row: int
    taken: TakenRequest
    gates: RequestGates

    @property
    def clips(self) -> int:
        """Valid ones; 0 where a summary does not say."""
        if self.taken.clips:
            return self.taken.clips[self.row]
        longest = max((array.shape[1] for array in self.gates.values()), default=0)
        return 0 if self.taken.summaries else longest


def same_gates(layout: GateLayout, taken: TakenRequest) -> tuple[str, str] | None:
    """Two different ids in ``taken`` whose gates are the same to the last bit in all layers and kinds.

    Gates that hold one value alone, or lie at zero and at the ends of their range only, may be equal by
    chance: they do not count.
    """
    if taken.ids is None or len(set(taken.ids)) < 2:
        return None
    plain = {0.0, *(end for row in layout.rows for end in (row.limits.low, row.limits.high))}
    first: dict[bytes, str] = {}
    for row, name in enumerate(taken.ids):
        gates = _cut(layout, taken, row)
        values = np.concatenate([np.ravel(gates[kind]) for kind in layout.kinds])
        other = first.setdefault(values.tobytes(), name)
        if other != name and np.isfinite(values).all():
            distinct = set(np.unique(values).tolist())
            if len(distinct) > 1 and distinct - plain:
                return other, name
    return None


def _cut(layout: GateLayout, taken: TakenRequest, row: int) -> RequestGates:
    """One sample's gates, valid clips only."""
    gates = {kind: np.asarray(taken.gates[kind][row], np.float32) for kind in layout.kinds}
    if taken.summaries or taken.clips is None:
        return gates
    return {kind: array[:, : taken.clips[row]] for kind, array in gates.items()}


def _by_shape(rows: Sequence[_Row]) -> list[list[_Row]]:
    groups: dict[tuple[tuple[int, ...], ...], list[_Row]] = {}
    for one in rows:
        groups.setdefault(tuple(array.shape for array in one.gates.values()), []).append(one)
    return [
        group[start : start + _MOST_TOGETHER]
        for group in groups.values()
        for start in range(0, len(group), _MOST_TOGETHER)
    ]
