"""A session that is watched: the same calls, the same answers, and its gates counted on the way."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from ...brief import one_line
from .monitor import Monitor
from .taps import tap_of


class MonitoredSession:
    """A drop-in for ``session``, whose gates ``monitor`` watches from now on.

    ``session`` is an ``onnxruntime.InferenceSession`` of a model that ``gatescope export`` wrote with
    ``--outputs tracked``, ``gates`` or ``summary``, or a
    :class:`~gatescope.runtime.session.session.GateSession` of one. :meth:`run` takes what the session's own
    takes and gives back what it gives; everything else of the session is passed through, unwatched
    (``run_with_iobinding``, ``get_inputs``).

    Raises :class:`~gatescope.runtime.errors.MonitorError` for another kind of session or a model without gate
    outputs, and :class:`~gatescope.runtime.errors.BaselineError` or
    :class:`~gatescope.runtime.errors.GateLogError` where the monitor's baseline or log is of another model.
    """

    def __init__(self, session: Any, monitor: Monitor) -> None:
        self._session = session
        self._monitor = monitor
        self._tap = tap_of(session)
        monitor.bind(self._tap.manifest, self._tap.file)

    def run(
        self,
        *args: Any,
        ids: object = None,
        slice: str = "",
        clips: Sequence[int] | None = None,
        **options: Any,
    ) -> Any:
        """Run the session on ``args`` and ``options``, and have the gates counted.

        ``ids``: what tells the B videos of the batch apart, as a service knows them: one per sample, in
        anything that can be gone through (a list, an array, a tensor, a generator), or for a batch of one the
        id alone. A video that comes again counts once in a window. ``slice``: the part of the traffic that
        the request belongs to (a language, a source, a model arm). ``clips``: valid clips of each sample, B
        whole numbers from 0 to L; it wins over a mask, and is only needed where a graph takes none and
        samples are padded. Without it such a batch is counted as it is, and that is said once in the log.

        Raises whatever the session raises. A fault in monitoring is counted and reported, never raised.
        """
        tapped = self._tap.call(args, options)
        self._monitor.offer(tapped, self._tap.summaries, ids, slice, clips)
        return tapped.result

    def __getattr__(self, name: str) -> Any:
        if name == "_session":  # asked for while a copy is being made
            raise AttributeError(name)
        return getattr(self._session, name)

    def __enter__(self) -> MonitoredSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the session where it can be closed; the monitor may watch others and stays open."""
        close = getattr(self._session, "close", None)
        if callable(close):
            close()

    def __repr__(self) -> str:
        session: object = self._session
        plain = type(session).__repr__ is object.__repr__  # a class and an address
        return one_line(self, type(session).__name__ if plain else repr(session), repr(self._monitor))
