"""What happens behind the requests of one process: counting, logging, watching, on a thread of its own."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ...errors import GateLogError
from ...gates.manifest import Manifest
from ..alarm import Alarm
from ..baseline.baseline import Baseline
from ..counting.observed import ObservedVideos
from ..counting.requests import TakenRequest, count_taken, same_gates
from ..counting.totals import GateTotals
from ..detection.watcher import Watcher
from ..log.writer import GateLogWriter
from ..metrics import definitions as m
from ..metrics.state import Detection, FleetState, MetricsSnapshot, StateFile, WorkerState, merged_state
from ..model import WatchedModel
from ..settings import MonitorSettings
from .complaint import complain, described
from .delivery import AlarmDelivery
from .intake import Intake

_AT_ONCE = 256
# A round of work ends after so many seconds even where more is waiting: others have to get a word in.
ROUND_SECONDS = 0.25
# What closing may take: a command that tells an alarm has 30 s.
_CLOSING_SECONDS = 40.0
# Further faults of the same kind are only counted.
_TOLD_FAULTS = 5
# Requests whose ids are looked at: who takes queries for videos does it from the first one on.
_LOOKS = 200


class Worker:
    """Everything a monitor has in one process. Its thread starts with it and ends with :meth:`close`.

    Alarms are delivered by that thread, in order and without the lock: what they call may ask the monitor.

    Raises what :class:`GateLogWriter` raises; later faults are counted in ``faults``.
    """

    def __init__(
        self,
        model: WatchedModel,
        manifest: Manifest,
        folder: Path | None,
        baseline: Baseline | None,
        on_alarm: str | Callable[[Alarm], object] | None,
        settings: MonitorSettings,
    ) -> None:
        self.model = model
        self.intake = Intake(settings.queue_requests, settings.queue_bytes)
        self.delivery = AlarmDelivery(folder, on_alarm)
        self.log = GateLogWriter(folder, manifest, model, settings.log) if folder is not None else None
        self.faults = 0
        self.last_fault = ""
        self._settings = settings
        self._state = WorkerState(GateTotals(model.layout))
        self._state_folder = self.log.folder.state if self.log else None
        self._state_file = self._new_state_file()
        self._watcher = Watcher(baseline, settings.watch) if baseline is not None else None
        self._baseline = baseline
        self._alarms: list[Alarm] = []
        self._looks = _LOOKS
        self._written = 0.0
        # The watcher and the totals belong to one thread at a time.
        self._work_lock = threading.Lock()
        self._idle = threading.Event()
        # A monitor that is collected stops its worker, maybe on a thread that is just waiting here: unlike an
        # event, this queue may then be put to.
        self._stopping, self._wake = False, queue.SimpleQueue[None]()
        self._thread = threading.Thread(target=self._run, name="gatescope-monitor", daemon=True)
        self._thread.start()

    def put(self, taken: TakenRequest, seconds: float) -> None:
        """One request, and how long it took on its own thread."""
        self.intake.put(taken, seconds)

    def fault(self, error: Exception) -> None:
        """Something of the monitor itself went wrong."""
        self.faults += 1
        self.last_fault = described(error)
        if self.faults <= _TOLD_FAULTS:
            complain(f"gates are not watched as they should be: {self.last_fault}")

    def firing(self) -> list[Alarm]:
        """Alarms that are not resolved."""
        with self._work_lock:
            return self._watcher.firing if self._watcher is not None else []

    def flush(self, seconds: float) -> None:
        """Wait until the queue is empty and its last videos are dealt with.

        Called by the thread itself, it counts what is waiting; alarms of that are told after the one that is
        being told.
        """
        until = time.monotonic() + seconds
        if threading.current_thread() is self._thread:
            while time.monotonic() < until and len(self.intake):
                with self._work_lock:
                    self._guarded(self._work)
        else:
            while time.monotonic() < until and not (len(self.intake) == 0 and self._idle.is_set()):
                time.sleep(0.005)
        with self._work_lock:
            self._keep_state()

    def snapshot(self) -> MetricsSnapshot:
        """This moment; with a folder, of all processes."""
        with self._work_lock:
            self._keep_state()
            detection = detection_of(self._watcher, self._baseline)
            if self._state_folder is not None and self._state_file is not None:
                own = merged_state(self._state_folder, self.model.layout)
            else:
                # A copy: counting goes on while the snapshot is read.
                own = FleetState(WorkerState(GateTotals(self.model.layout)), live=1)
                own.state.merge(self._state)
            return MetricsSnapshot(self.model, own, detection, versions=monitor_versions())

    def stop(self) -> None:
        """Have the thread deal with what is left, and end; returns at once."""
        self._stopping = True
        self._wake.put(None)

    def close(self) -> None:
        """Deal with what is left, and end. Called by the thread itself, it ends after what it is doing."""
        self.stop()
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSING_SECONDS)

    def disown(self) -> None:
        """In a forked child: let go of the parent's files without touching what is in them."""
        if self._state_file is not None:
            self._state_file.close()
        if self.log is not None:
            self.log.disown()

    def _run(self) -> None:
        while not self._stopping:
            # Where more is waiting a moment is left to those who wait for the lock.
            more = self._round()
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=0.001 if more else self._settings.poll_seconds)
        while self._round():
            pass
        with self._work_lock:
            if self.log is not None:
                self._guarded(self.log.close)
            self._guarded(self._keep_state)
            if self._state_file is not None:
                self._state_file.close()
        self.delivery.close()

    def _round(self) -> bool:
        """Work, and deliver what there is to tell; whether more is waiting."""
        with self._work_lock:
            self._idle.clear()
            self._guarded(self._work)
            alarms, self._alarms = self._alarms, []
        self._guarded(lambda: self.delivery.tell(alarms))
        more = len(self.intake) > 0 or bool(self._alarms)
        if not more:
            self._idle.set()
        return more

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # nothing may end this thread
            self.fault(error)

    def _work(self) -> None:
        began = time.thread_time()
        until = time.monotonic() + ROUND_SECONDS
        while time.monotonic() < until and (taken := self.intake.take(_AT_ONCE)):
            self._look_at_ids(taken)
            videos = count_taken(self.model.layout, taken, self._settings.keep_gates, self._uncounted)
            if videos is not None:
                self._take_in(videos)
        now = time.monotonic()
        if self.log is not None:
            self.log.tick()
        if self._watcher is not None:
            self._alarms += self._watcher.tick(now)
            if self.log is not None:
                self._alarms += self._watcher.lost(self.log.lost, now)
        self._state.counters[m.BACKGROUND_SECONDS.key] += time.thread_time() - began
        if now - self._written >= self._settings.state_seconds:
            self._written = now
            self._keep_state()

    def _take_in(self, videos: ObservedVideos) -> None:
        segment = ""
        if self.log is not None:
            self.log.append(videos)
            segment = self.log.segment
        state = self._state
        state.totals.update(videos.counts)
        state.slices.update(videos.slices)
        state.last_inference = videos.times[-1] / 1e9
        if self._watcher is not None:
            self._alarms += self._watcher.see(videos, [segment] * len(videos), now=time.monotonic())

    def _look_at_ids(self, taken: list[TakenRequest]) -> None:
        """Said once: ids that name queries make each of them a video, and a busy video looks frozen."""
        for one in taken:
            if not self._looks or one.ids is None:
                continue
            self._looks -= 1
            try:
                found = same_gates(self.model.layout, one)
            except Exception:  # gates that cannot be counted are told of where they are counted
                continue
            if found is not None:
                self._looks = 0
                complain(
                    "one batch has the same gates, to the last bit, under the ids"
                    f" {found[0]!r} and {found[1]!r}: ids= names videos, one id for all queries of a video;"
                    " where these are different videos, they were given the same features"
                )

    def _uncounted(self, videos: int, error: Exception) -> None:
        self.fault(ValueError(f"{videos} videos could not be counted: {described(error)}"))

    def _keep_state(self) -> None:
        """Bring the counters up to date, and write them for other processes to read."""
        counters = self._state.counters
        counters.update(
            {
                m.REQUESTS.key: self.intake.requests,
                m.REQUEST_SECONDS.key: self.intake.seconds,
                m.DROPPED.key: self.intake.dropped,
                m.FAULTS.key: self.faults,
                m.DELIVERIES_FAILED.key: self.delivery.failures,
            }
        )
        self._state.last_fault = self.last_fault
        # A clock that was ahead and was put right must not hide that traffic has ended since.
        self._state.last_inference = min(self._state.last_inference, time.time())
        if self.log is not None:
            counters.update(
                {
                    m.ACKNOWLEDGED.key: self.log.acknowledged,
                    m.DURABLE.key: self.log.durable,
                    m.AT_RISK.key: self.log.at_risk,
                    m.LOST.key: self.log.lost,
                    m.LOG_ERRORS.key: self.log.errors,
                    m.LOG_BYTES.key: self.log.bytes_written,
                }
            )
        if self._state_file is None:
            self._state_file = self._new_state_file()
        if self._state_file is not None:
            try:
                self._state_file.write(self._state)
            except OSError as error:
                self.fault(error)

    def _new_state_file(self) -> StateFile | None:
        if self._state_folder is None or self.log is None:
            return None
        try:
            return StateFile(self._state_folder, self.log.process)
        except OSError as error:
            self.fault(GateLogError(f"no state can be kept in {self._state_folder}: {error.strerror}"))
            return None


def detection_of(watcher: Watcher | None, baseline: Baseline | None) -> Detection | None:
    """What ``watcher`` sees now, for the metrics."""
    if watcher is None or baseline is None:
        return None
    return Detection(
        readings=watcher.readings(),
        filled=watcher.filled(),
        firing=watcher.firing,
        raised=dict(watcher.raised),
        slices=baseline.slices,
        watched=watcher.videos,
        baseline_videos=len(baseline.videos),
        false_alarms=baseline.false_alarms,
    )


def monitor_versions() -> dict[str, str]:
    """Of gatescope and Python, for the metrics."""
    import platform
    from importlib.metadata import version

    return {"version": version("gatescope"), "python": platform.python_version()}
