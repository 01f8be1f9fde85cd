"""The monitor of a service: takes the gates of every request, and does the rest behind it."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from ...brief import one_line
from ...errors import MonitorError
from ...files import local
from ...forks import renew_after_fork
from ...gates.manifest import Manifest
from ..alarm import Alarm
from ..baseline.baseline import Baseline
from ..baseline.stored import load_baseline
from ..counting.observed import OTHER_SLICES
from ..counting.requests import TakenRequest
from ..log.folder import join_folder
from ..log.records import short_id
from ..log.writer import GateLogWriter
from ..metrics.state import MetricsSnapshot
from ..model import WatchedModel
from ..settings import MonitorSettings
from .complaint import complain, described
from .delivery import AlarmDelivery
from .given import ids_of_samples, lengths_of_samples, longest_of
from .taps import Tapped, clip_mask
from .worker import Worker

_MOST_LABEL = 64
# Seconds until a worker is begun again after that failed, doubled each time.
FIRST_START_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


class Monitor:
    """Watches the gates of one model in this process.

    - ``folder``: a gate log, shared by all processes of the service, or None for none.
    - ``baseline``: a baseline file, or one that is loaded, to watch against here; None to count and log only,
      for a ``gatescope monitor watch`` that watches all processes.
    - ``on_alarm``: a command, which gets each alarm as JSON on its standard input, or a function.
    - ``settings``: see :class:`MonitorSettings`.

    Nothing it does raises into the service once a session is bound. ``faults`` counts what went wrong and
    ``last_fault`` says it; the metrics and the logger ``gatescope`` do too. It survives a fork: the child
    counts for itself. A context manager; without ``with``, call :meth:`close`, or let the process end.

    Raises :class:`~gatescope.runtime.errors.BaselineError` for a baseline that cannot be read.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        baseline: str | os.PathLike[str] | Baseline | None = None,
        on_alarm: str | Callable[[Alarm], object] | None = None,
        settings: MonitorSettings | None = None,
    ) -> None:
        self.settings = settings or MonitorSettings()
        self.folder = local(folder) if folder is not None else None
        loaded = load_baseline(local(baseline)) if isinstance(baseline, str | os.PathLike) else baseline
        self.baseline: Baseline | None = loaded
        self._on_alarm = on_alarm
        # A command that cannot be read is told now, not at the first alarm.
        AlarmDelivery(None, on_alarm)
        self._model: WatchedModel | None = None
        self._manifest: Manifest | None = None
        self._worker: Worker | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._slices: set[str] = set()
        # Faults of beginning again after a fork, where there is no worker to count them.
        self._faults, self._last_fault = 0, ""
        self._pause, self._not_before = FIRST_START_PAUSE, 0.0
        self._told_padding = False
        own: weakref.ref[Monitor] = weakref.ref(self)
        renew_after_fork(self)
        atexit.register(_close, own)

    @property
    def model(self) -> WatchedModel:
        """The model that is watched.

        Raises :class:`~gatescope.runtime.errors.MonitorError` before a session is bound.
        """
        if self._model is None:
            raise MonitorError("this monitor watches nothing yet", fix="give it to a MonitoredSession")
        return self._model

    @property
    def faults(self) -> int:
        """What went wrong in this process's monitoring."""
        return self._faults + (self._worker.faults if self._worker else 0)

    @property
    def last_fault(self) -> str:
        """The latest message, empty where there is none."""
        return (self._worker.last_fault if self._worker else "") or self._last_fault

    @property
    def dropped(self) -> int:
        """Videos that found the queue full."""
        return self._worker.intake.dropped if self._worker else 0

    @property
    def alarms(self) -> list[Alarm]:
        """The latest alarms that this process told, oldest first; a thousand at most."""
        return list(self._worker.delivery.recent) if self._worker else []

    @property
    def firing(self) -> list[Alarm]:
        """Alarms that are not resolved."""
        return self._worker.firing() if self._worker else []

    @property
    def log(self) -> GateLogWriter | None:
        """This process's log, with what it has acknowledged, made durable and lost; None without a folder."""
        return self._worker.log if self._worker else None

    def bind(self, manifest: Manifest, file_sha256: str = "") -> None:
        """Watch the model that ``manifest`` describes; a :class:`MonitoredSession` calls it.

        Raises :class:`~gatescope.runtime.errors.BaselineError` or
        :class:`~gatescope.runtime.errors.GateLogError` where baseline or log are of another model, and
        :class:`~gatescope.runtime.errors.MonitorError` where this monitor watches another one already or is
        closed.
        """
        if self._closed:
            raise MonitorError("this monitor is closed", fix="make a new one")
        model = WatchedModel.of(manifest, file_sha256)
        if self._model is not None and (different := self._model.differences(model)):
            raise MonitorError(
                "this monitor watches another model already",
                received="; ".join(different),
                fix="give every model a monitor of its own",
            )
        if self.baseline is not None:
            self.baseline.check_model(model, "this session")
        if self.folder is not None and self._model is None:
            join_folder(self.folder, manifest, model)
        self._model, self._manifest = model, manifest
        self._start()

    def offer(
        self,
        tapped: Tapped,
        summaries: bool,
        ids: object,
        slice_: str,
        clips: Sequence[int] | None = None,
    ) -> None:
        """Take in one request; never raises, and does nothing that takes longer than copying its gates."""
        began = time.perf_counter()
        worker = self._worker
        try:
            if worker is None and time.monotonic() >= self._not_before:
                worker = self._start()
            if worker is None:
                return
            gates = tapped.gates()
            if not gates:
                return
            if tapped.shared:
                gates = {kind: array.copy() for kind, array in gates.items()}
            samples = len(next(iter(gates.values())))
            mask, lengths = None, None
            if clips is not None:
                lengths = lengths_of_samples(clips, samples, 0 if summaries else longest_of(gates))
            elif not summaries:
                mask = clip_mask(tapped.inputs())
                if mask is None and samples > 1 and not self._told_padding:
                    self._tell_padding(gates)
            names, label = ids_of_samples(ids, samples), self._bounded(slice_)
            taken = TakenRequest(time.time_ns(), gates, summaries, mask, names, label, lengths)
            worker.put(taken, time.perf_counter() - began)
        except Exception as error:  # whatever a caller gives, inference goes on
            if worker is not None:
                worker.fault(error)
            else:
                self._failed_to_start(error)

    def flush(self, seconds: float = 30.0) -> None:
        """Wait until all that was offered is counted and logged, for ``seconds`` at most."""
        if self._worker is not None:
            self._worker.flush(seconds)

    def snapshot(self) -> MetricsSnapshot:
        """What a metrics server shows: with a folder, of all its processes.

        Raises :class:`~gatescope.runtime.errors.MonitorError` before a session is bound and after
        :meth:`close`.
        """
        worker = self._worker or self._start()
        if worker is None:
            if self._closed:
                raise MonitorError("this monitor is closed", fix="close the metrics server before it")
            raise MonitorError("this monitor watches nothing yet", fix="give it to a MonitoredSession")
        return worker.snapshot()

    def close(self) -> None:
        """Count and log what is left, end the log; what comes later is not watched."""
        self._closed = True
        worker, self._worker = self._worker, None
        if worker is not None:
            self._abandoned.detach()
            worker.close()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> Worker | None:
        """This process's own worker; None before a session is bound and once the monitor is closed."""
        with self._lock:
            if self._closed or self._model is None or self._manifest is None:
                return None
            if self._worker is None:
                self._worker = Worker(
                    self._model, self._manifest, self.folder, self.baseline, self._on_alarm, self.settings
                )
                # A monitor that is dropped without being closed takes its thread and its files with it.
                self._abandoned = weakref.finalize(self, self._worker.stop)
                self._abandoned.atexit = False
                self._pause, self._not_before = FIRST_START_PAUSE, 0.0
            return self._worker

    def _failed_to_start(self, error: Exception) -> None:
        """After a fork the log may be gone: said once, and tried again, more and more rarely."""
        self._faults += 1
        self._last_fault = described(error)
        now = time.monotonic()
        with self._lock:
            # Requests of other threads tried at the same time.
            if now < self._not_before:
                return
            first = self._pause == FIRST_START_PAUSE
            self._not_before = now + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        if first:
            complain(f"gates are not watched: {self._last_fault}")

    def _tell_padding(self, gates: Mapping[str, NDArray[Any]]) -> None:
        """Without a mask nobody knows which clips are padding."""
        if longest_of(gates) > 1:
            self._told_padding = True
            complain(
                "batches of several samples come without a mask: if they are padded, the padding is counted;"
                " say the valid clips with run(…, clips=[…])"
            )

    def _bounded(self, label: str) -> str:
        """The slice as it is kept; beyond the bound all further ones are one."""
        if not label:
            return ""
        text = short_id(str(label))[:_MOST_LABEL]
        if text in self._slices:
            return text
        if len(self._slices) >= self.settings.most_slices:
            return OTHER_SLICES
        self._slices.add(text)
        return text

    def after_fork(self) -> None:
        """In the child: what the parent has queued, counted and opened is the parent's."""
        self._lock = threading.Lock()
        self._faults, self._last_fault = 0, ""
        self._pause, self._not_before = FIRST_START_PAUSE, 0.0
        worker, self._worker = self._worker, None
        if worker is not None:
            self._abandoned.detach()
            worker.disown()

    def __repr__(self) -> str:
        log = "no log" if self.folder is None else f"log {self.folder}"
        baseline = "no baseline" if self.baseline is None else "a baseline"
        return one_line(self, log, baseline, "closed" if self._closed else "")


def _close(monitor: weakref.ref[Monitor]) -> None:
    if (own := monitor()) is not None:
        own.close()
