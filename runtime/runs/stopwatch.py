"""Where the time of a run goes."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager

from .info import Timings


class Stopwatch:
    """Adds up what reading, computing and writing take, on top of what earlier sittings took."""

    def __init__(self, earlier: Timings) -> None:
        self._seconds = [earlier.reading_seconds, earlier.computing_seconds, earlier.writing_seconds]

    def reading(self) -> AbstractContextManager[None]:
        """Times a block of reading."""
        return self._timed(0)

    def computing(self) -> AbstractContextManager[None]:
        """Times a block of computing."""
        return self._timed(1)

    def writing(self) -> AbstractContextManager[None]:
        """Times a block of writing."""
        return self._timed(2)

    def timings(self, samples: int) -> Timings:
        """The sums so far, in which ``samples`` were run."""
        total = sum(self._seconds)
        return Timings(*self._seconds, samples_per_second=samples / total if total > 0 else 0.0)

    @contextmanager
    def _timed(self, which: int) -> Generator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[which] += time.perf_counter() - began
