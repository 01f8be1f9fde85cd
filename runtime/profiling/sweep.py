"""Throughput and latency over sizes of batches, and which size to take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from ..errors import OutOfMemoryError
from ..session.session import GateSession
from .lengths import Lengths, draw_batches
from .results import ProfileRow, Recommendation
from .start import Tried
from .timing import Budget, TimedCall, block_rates, latencies_ms, time_calls, warm_up

# A larger batch costs memory and latency: below this gain it is not worth them.
NEARLY_FASTEST = 0.97
# All sizes are measured in turns, so that whatever else the machine does hits all of them alike.
_ROUNDS = 3


def sweep(
    session: GateSession,
    lengths: Lengths,
    tried: Mapping[int, Tried],
    budget: Budget,
    *,
    concurrency: int,
    tell: Callable[[str], None],
) -> list[ProfileRow]:
    """One row for each size of batch in ``tried``, ascending; those that failed there are not run again."""
    series = [_Series(session, lengths, tried[size], concurrency) for size in sorted(tried)]
    pieces = budget.split(_ROUNDS)
    for number, piece in enumerate(pieces, start=1):
        tell(f"measuring every size of batch ({number} of {len(pieces)})")
        for one in series:
            one.measure(piece)
    return [one.row() for one in series]


class _Series:
    """The calls of one size of batch, in one stretch a round."""

    def __init__(self, session: GateSession, lengths: Lengths, tried: Tried, concurrency: int) -> None:
        self._session, self._lengths, self._concurrency = session, lengths, concurrency
        self._size = tried.batch_size
        self._row = ProfileRow(
            lengths.clips, lengths.words, self._size, peak_bytes=tried.peak_bytes, failure=tried.failure
        )
        self._calls: list[TimedCall] = []
        self._rates: list[float] = []

    def measure(self, budget: Budget) -> None:
        """Time some more calls, unless memory ran out before."""
        if self._row.failure is not None:
            return
        try:
            # Drawn anew each time: the batches of all sizes at once may not fit into memory.
            batches = draw_batches(self._session.manifest, self._lengths, self._size)
            first = len(self._calls)

            def call(number: int) -> None:
                self._session.run(batches[(first + number) % len(batches)])

            if not self._calls:
                warm_up(call)
            calls = time_calls(call, budget, concurrency=self._concurrency)
        except (OutOfMemoryError, MemoryError):
            self._row = replace(self._row, failure="out of memory")
            return
        self._calls += calls
        self._rates += block_rates(calls, self._concurrency * len(batches))

    def row(self) -> ProfileRow:
        """What they say together."""
        if self._row.failure is not None:
            return self._row
        rate = self._size * float(np.median(self._rates))
        p50, p95, p99 = latencies_ms(self._calls)
        seconds = self._lengths.mean_clips * self._session.manifest.preprocessing.clip_length
        return replace(
            self._row,
            calls=len(self._calls),
            samples_per_second=rate,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            video_hours_per_hour=rate * seconds,
        )


def recommend(rows: Sequence[ProfileRow]) -> tuple[Recommendation, ...]:
    """For each (clips, words) the smallest batch within 3% of the best throughput; none where all failed."""
    found: list[Recommendation] = []
    for (clips, words), group in groupby(rows, key=lambda row: (row.clips, row.words)):
        measured = [
            Recommendation(clips, words, row.batch_size, row.samples_per_second, row.video_hours_per_hour)
            for row in group
            if row.samples_per_second is not None and row.video_hours_per_hour is not None
        ]
        best = max((one.samples_per_second for one in measured), default=0.0)
        good = [one for one in measured if one.samples_per_second >= NEARLY_FASTEST * best]
        found += sorted(good, key=lambda one: one.batch_size)[:1]
    return tuple(found)
