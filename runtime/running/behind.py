"""Parts written behind the device, in order, by one thread."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from ..data.crew import Crew
from ..runs.stopwatch import Stopwatch
from ..session.session import Outputs
from .groups import Group

# Parts that may be open at once: one being written, one finished, one or two still being computed.
_OPEN_PARTS = 3


@dataclass(frozen=True, eq=False)
class Computed:
    """A batch that was computed: what the model gave for the samples of ``group``, in their order."""

    group: Group
    outputs: Outputs


class WriteBehind:
    """Collects computed batches until a part is whole, and writes part after part from ``first`` to ``end``.

    When the crew stops, parts that are whole by then are still written. ``waiting`` measures the threads that
    compute and have to wait for the writer.
    """

    def __init__(
        self, crew: Crew, write: Callable[[list[Computed]], None], first: int, end: int, *, producers: int
    ) -> None:
        self.waiting = Stopwatch()
        self._crew = crew
        self._write = write
        self._next = first
        self._end = end
        self._producers = producers
        self._parts: dict[int, list[Computed]] = {}

    @contextmanager
    def producing(self) -> Generator[None]:
        """Around the work of each of the ``producers`` threads that add batches."""
        try:
            yield
        finally:
            with self._crew.changed:
                self._producers -= 1
                self._crew.changed.notify_all()

    def has_room(self, group: Group) -> bool:
        """Wait until the writer is near enough for ``group`` to be computed; False where the crew stops."""
        with self.waiting, self._crew.changed:
            return self._crew.wait_until(lambda: group.part < self._next + _OPEN_PARTS)

    def add(self, computed: Computed) -> None:
        """Hand over a batch; every batch of a part must come."""
        with self._crew.changed:
            self._parts.setdefault(computed.group.part, []).append(computed)
            self._crew.changed.notify_all()

    def work(self) -> None:
        """What the writing thread does."""
        while self._next < self._end:
            with self._crew.changed:
                while not self._whole and self._producers:
                    self._crew.changed.wait()
                if not self._whole:
                    return
                batches = self._parts.pop(self._next)
            self._write(batches)
            with self._crew.changed:
                self._next += 1
                self._crew.changed.notify_all()

    @property
    def _whole(self) -> bool:
        batches = self._parts.get(self._next)
        return batches is not None and len(batches) == batches[0].group.of_part
