"""Runs the parts of a plan that are missing: reading, computing and writing side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..data.crew import Crew, reading_threads
from ..data.folders import FeatureFolders
from ..progress import progress
from ..runs.folder import writing
from ..runs.stopwatch import RunClock, Stopwatch
from ..session.session import GateSession
from .ahead import ReadAhead
from .behind import Computed, WriteBehind
from .groups import groups
from .loader import SampleLoader
from .parts import assemble
from .plan import RunPlan

# A call of the session keeps every core busy; with the next one under way, none is idle where one call ends
# and another begins. More would only hold more batches in memory.
CALLS_AT_ONCE = 2
# Batches in memory besides those being computed. On the CPU one is read long before it is needed; a GPU takes
# hardly longer to compute a batch than it takes to read one.
_READ_AHEAD = {"cpu": 1, "cuda": 2}
# The share of its time that computing waits for another stage before that stage is called the limit. With
# two calls at a time the share leaps from nothing to a half where the other stage becomes the slower one.
_WAITING_SHARE = 0.25
# Seconds that the verdict on the limit looks back.
_LOOK_BACK = 5.0


def run_parts(session: GateSession, plan: RunPlan, folders: FeatureFolders, clock: RunClock) -> None:
    """Compute and write every part that is missing.

    Several threads read, two compute, one writes. Whatever ends one of them, also an interruption of the
    calling thread, ends all soon, and is raised after what is whole has been written.
    """
    writer, total = plan.writer, len(plan.samples)
    info = writer.info

    def compute() -> None:
        with behind.producing():
            while (batch := ahead.take()) is not None and behind.has_room(batch.group):
                with clock.computing:
                    outputs = session.run(batch.padded.arrays)
                ahead.release(batch)
                behind.add(Computed(batch.group, outputs))
                crew.tell(len(batch.group.places))

    def write(batches: Sequence[Computed]) -> None:
        with clock.writing, writing(writer.folder):
            part = assemble(plan, batches)
            timings = clock.timings(part.end)
            writer.write_part(part.gates, part.lines, timings, summaries=part.summaries)

    first = writer.next_part
    with Crew() as crew:
        ahead = ReadAhead(
            crew,
            plan,
            SampleLoader(plan, folders),
            groups(plan),
            clock.reading,
            depth=CALLS_AT_ONCE + _READ_AHEAD[info.device],
        )
        behind = WriteBehind(crew, write, first, info.parts, producers=CALLS_AT_ONCE)
        limit = _Limit(ahead.waiting, behind.waiting)
        with progress("running", total, done=info.samples_in(first), note=limit.told) as advance:
            reading = [ahead.work] * reading_threads()
            crew.start([compute] * CALLS_AT_ONCE + [behind.work], abandonable=reading)
            for samples in crew.listen():
                advance(samples)


class _Limit:
    """Which stage the others wait for, from how long the threads that compute had to wait."""

    def __init__(self, for_features: Stopwatch, for_writer: Stopwatch) -> None:
        self._waits = (for_features, for_writer)
        self._since = time.perf_counter()
        self._before = (0.0, 0.0)

    def told(self) -> str:
        """For the progress line."""
        now = time.perf_counter()
        waited = tuple(wait.thread_seconds for wait in self._waits)
        spent = CALLS_AT_ONCE * max(now - self._since, 1e-9)
        features, writer = (
            (after - before) / spent for after, before in zip(waited, self._before, strict=True)
        )
        if now - self._since > _LOOK_BACK:
            self._since, self._before = now, waited
        if max(features, writer) < _WAITING_SHARE:
            return "computing is the limit"
        return "waiting for features" if features >= writer else "waiting for the disk to take results"
