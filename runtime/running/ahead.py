"""Batches read ahead of the device, in order, by several threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..data.crew import Crew
from ..data.padded import BatchMemory, PaddedBatch
from ..data.scratch import Scratch
from ..runs.stopwatch import Stopwatch
from .groups import Group
from .loader import SampleLoader
from .plan import RunPlan


@dataclass(eq=False)
class ReadBatch:
    """A batch on its way. ``jobs``: rows that nobody reads yet, by video. ``left``: those not yet read."""

    group: Group
    padded: PaddedBatch
    jobs: deque[list[int]]
    left: int = field(init=False)
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.left = len(self.jobs)

    @property
    def ready(self) -> bool:
        """Whether it can be computed, or has failed."""
        return self.left == 0 or self.error is not None


class ReadAhead:
    """Lays out the batches of a run and has them filled, at most ``depth`` at a time.

    A batch counts from when it is laid out until :meth:`release`, so memory is bounded by ``depth`` batches.
    ``reading`` measures the threads that read, :attr:`waiting` those that wait for a batch.
    """

    def __init__(
        self,
        crew: Crew,
        plan: RunPlan,
        loader: SampleLoader,
        groups: Iterator[Group],
        reading: Stopwatch,
        *,
        depth: int,
    ) -> None:
        self.waiting = Stopwatch()
        self._crew = crew
        self._plan = plan
        self._loader = loader
        self._groups = groups
        self._reading = reading
        self._depth = depth
        self._memory = BatchMemory()
        self._open = 0
        self._order: deque[ReadBatch] = deque()
        self._current: ReadBatch | None = None
        self._all_laid_out = False

    def work(self) -> None:
        """What each reading thread does: the next video of the next batch, until there is none."""
        scratch = Scratch()
        while (job := self._next_job()) is not None:
            batch, rows = job
            error: BaseException | None = None
            try:
                with self._reading:
                    places = [batch.group.places[row] for row in rows]
                    self._loader.load(batch.padded, rows, places, scratch)
            except BaseException as failure:
                # Told when the batch's turn comes: the batches before it are computed and written.
                error = failure
            with self._crew.changed:
                batch.left -= 1
                if error is not None:
                    batch.error = batch.error or error
                    batch.jobs.clear()
                    self._all_laid_out = True
                if batch.ready:
                    self._crew.changed.notify_all()

    def take(self) -> ReadBatch | None:
        """The next batch, once it is filled; None after the last, or where the crew stops.

        Raises what reading it failed with.
        """
        crew = self._crew
        with self.waiting, crew.changed:
            going_on = crew.wait_until(lambda: self._order[0].ready if self._order else self._all_laid_out)
            if not going_on or not self._order:
                return None
            batch = self._order.popleft()
        if batch.error is not None:
            raise batch.error
        return batch

    def release(self, batch: ReadBatch) -> None:
        """The batch was computed, and nobody looks at its arrays any more."""
        with self._crew.changed:
            self._memory.give_back(batch.padded.block)
            self._open -= 1
            self._crew.changed.notify_all()

    def _next_job(self) -> tuple[ReadBatch, list[int]] | None:
        crew = self._crew
        with crew.changed:
            while crew.wait_until(lambda: self._jobs_left or self._all_laid_out or self._open < self._depth):
                if self._jobs_left and self._current is not None:
                    return self._current, self._current.jobs.popleft()
                if self._all_laid_out:
                    return None
                self._lay_out_next()
        return None

    @property
    def _jobs_left(self) -> bool:
        return self._current is not None and bool(self._current.jobs)

    def _lay_out_next(self) -> None:
        group = next(self._groups, None)
        if group is None:
            self._all_laid_out = True
            self._crew.changed.notify_all()
            return
        plan = self._plan
        padded = PaddedBatch.lay_out(
            plan.writer.info.manifest.preprocessing,
            [plan.clips[place] for place in group.places],
            [plan.words[place] for place in group.places],
            (group.clips, group.words),
            self._memory,
            text=self._loader.text,
        )
        rows: dict[str, list[int]] = {}
        for row, place in enumerate(group.places):
            rows.setdefault(plan.samples[place].vid, []).append(row)
        self._current = ReadBatch(group, padded, deque(rows.values()))
        self._order.append(self._current)
        self._open += 1
        self._crew.changed.notify_all()
