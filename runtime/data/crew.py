"""Threads that end together: when one fails, or the main thread is interrupted, none is left waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from types import TracebackType

from ..session.device import available_cpus

# One thread waits for the disk while another works; more than a few only take turns at the interpreter.
_FEWEST, _MOST = 2, 8
# Seconds a stopped thread may take. A read from a drive that has gone away can last for ever; the thread that
# waits for it holds nothing that anybody needs, and is left behind.
STOP_PATIENCE_SECONDS = 5.0


def reading_threads() -> int:
    """How many threads read files side by side, by the CPUs this process may use."""
    return min(max(available_cpus(), _FEWEST), _MOST)


class Crew:
    """Threads around one condition, ``changed``: whoever changes what others wait for notifies it.

    A context manager: leaving it stops and joins the threads, and raises what the first of them failed with,
    whatever kind of exception it was. The thread that leads the crew only listens (:meth:`listen`). It never
    holds ``changed`` while they work, so that an interruption cannot leave it locked.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._stopping = False
        self._error: BaseException | None = None
        self._told: SimpleQueue[int | None] = SimpleQueue()
        self._threads: list[tuple[threading.Thread, float | None]] = []
        self._working = 0

    def start(
        self, works: Sequence[Callable[[], None]] = (), *, abandonable: Sequence[Callable[[], None]] = ()
    ) -> None:
        """Run each work in a thread of its own; once.

        They must end soon after :attr:`stopping` is set. An ``abandonable`` one that does not is left behind.
        """
        patience = [None] * len(works) + [STOP_PATIENCE_SECONDS] * len(abandonable)
        self._working = len(patience)
        for work, seconds in zip([*works, *abandonable], patience, strict=True):
            thread = threading.Thread(target=self._run, args=(work,), name="gatescope", daemon=True)
            # First, so that a thread is known even where an interruption comes while it is being started.
            self._threads.append((thread, seconds))
            thread.start()

    @property
    def stopping(self) -> bool:
        """Whether the threads should end: one has failed, or the crew is being left."""
        return self._stopping

    def wait_until(self, ready: Callable[[], bool]) -> bool:
        """Wait, with ``changed`` held, until ``ready``; False where the crew stops before."""
        while not self._stopping and not ready():
            self.changed.wait()
        return not self._stopping

    def tell(self, samples: int) -> None:
        """Let the leading thread know that so many samples more are done."""
        self._told.put(samples)

    def listen(self, every: float = 1.0) -> Iterator[int]:
        """What the threads tell, and 0 after ``every`` seconds of silence.

        Ends when all have ended or one failed.
        """
        while True:
            try:
                told = self._told.get(timeout=every)
            except Empty:
                told = 0
            if told is None:
                return
            yield told

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.changed:
            self._stopping = True
            self.changed.notify_all()
        for thread, patience in self._threads:
            if thread.ident is not None:  # it was started
                thread.join(patience)
        if error is None and self._error is not None:
            raise self._error

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._end(error)
        else:
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        with self.changed:
            self._working -= 1
            if error is not None and self._error is None:
                self._error = error
                self._stopping = True
            self.changed.notify_all()
            if self._stopping or not self._working:
                self._told.put(None)
