"""Where the time of a run goes, whose stages go on side by side."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from .info import Timings


class Stopwatch:
    """Measures a block of code that several threads may be in at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._since = 0.0
        self._any = 0.0
        self._all = 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._count()
            self._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._count()
            self._inside -= 1

    @property
    def seconds(self) -> float:
        """How long at least one thread was inside, up to now."""
        with self._lock:
            self._count()
            return self._any

    @property
    def thread_seconds(self) -> float:
        """How long the threads were inside, added up, up to now."""
        with self._lock:
            self._count()
            return self._all

    def _count(self) -> None:
        now = time.perf_counter()
        if self._inside:
            self._any += now - self._since
            self._all += self._inside * (now - self._since)
        self._since = now


class RunClock:
    """The stages of a run, and the time since it was made, on top of what earlier sittings took."""

    def __init__(self) -> None:
        self.checking = Stopwatch()
        self.reading = Stopwatch()
        self.computing = Stopwatch()
        self.writing = Stopwatch()
        self._earlier = Timings()
        self._began = time.perf_counter()

    def continue_from(self, earlier: Timings) -> None:
        """Count on from what earlier sittings of the run took."""
        self._earlier = earlier

    def timings(self, samples: int) -> Timings:
        """The sums up to now, in which ``samples`` were run."""
        earlier = self._earlier
        seconds = earlier.seconds + time.perf_counter() - self._began
        return Timings(
            checking_seconds=earlier.checking_seconds + self.checking.seconds,
            reading_seconds=earlier.reading_seconds + self.reading.seconds,
            computing_seconds=earlier.computing_seconds + self.computing.seconds,
            writing_seconds=earlier.writing_seconds + self.writing.seconds,
            seconds=seconds,
            samples_per_second=samples / seconds if seconds > 0 else 0.0,
        )
