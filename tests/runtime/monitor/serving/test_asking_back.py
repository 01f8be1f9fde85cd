"""What an alarm calls may ask the monitor anything: it is answered at once, and nothing is told twice."""

from __future__ import annotations

import _thread
import gc
import threading
import time
import weakref

import pytest

from gatescope.runtime import Monitor, MonitoredSession
from gatescope.runtime.monitor.alarm import Alarm
from gatescope.runtime.monitor.baseline.baseline import Baseline

from ....waiting import PATIENCE, until
from .test_alarms import QUIET, gates
from .test_overload import session_of


def test_an_alarm_that_flushes_holds_nobody_up_and_alarms_stay_in_order(baseline: Baseline) -> None:
    told: list[tuple[int, str]] = []
    seconds: list[float] = []
    broken, sound = session_of(gates(60, 3, level=0.0)), session_of(gates(500, 4))

    def ask(alarm: Alarm) -> None:
        began = time.monotonic()
        if not told:
            # What resolves this alarm is counted while it is still being told.
            watched = MonitoredSession(sound, monitor)
            watched.run(None, {}, ids=[f"sound{number}" for number in range(500)])
            monitor.flush(PATIENCE)
            assert monitor.firing == []
        told.append((alarm.number, alarm.state))
        seconds.append(time.monotonic() - began)

    with Monitor(baseline=baseline, on_alarm=ask, settings=QUIET) as monitor:
        MonitoredSession(broken, monitor).run(None, {}, ids=[f"v{number}" for number in range(60)])
        until(lambda: len(told) >= 2)
        monitor.flush()
        assert told == [(1, "firing"), (1, "resolved")]
        assert max(seconds) < PATIENCE  # which a flush that waits for itself takes
        assert monitor.snapshot().fleet.state.counters["deliveries_failed"] == 0


def test_a_monitor_may_be_collected_even_where_its_own_thread_begins_to_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The collector runs wherever memory is asked for: here, as soon as that thread asks for a lock."""
    ring: list[object] = [Monitor(settings=QUIET)]
    ring.append(ring)
    monitor = ring[0]
    assert isinstance(monitor, Monitor)
    MonitoredSession(session_of(gates(1, 2)), monitor).run(None, {})
    worker, gone, usual = monitor._worker, weakref.ref(monitor), _thread.allocate_lock
    assert worker is not None
    thread, turn, turns = worker._thread, worker._round, list[bool]()

    def collecting() -> _thread.LockType:
        if threading.current_thread() is thread:
            gc.collect()
        return usual()

    gc.disable()
    try:
        monkeypatch.setattr(threading, "_allocate_lock", collecting)
        monkeypatch.setattr(worker, "_round", lambda: turns.append(True) or turn())
        del monitor, worker, ring
        until(lambda: len(turns) > 5 or not thread.is_alive())
        monkeypatch.undo()
    finally:
        gc.enable()
        gc.collect()
    thread.join(PATIENCE)
    assert gone() is None and not thread.is_alive()


def test_an_alarm_may_close_its_monitor_and_is_told_to_the_end(baseline: Baseline) -> None:
    told: list[str] = []

    def ask(alarm: Alarm) -> None:
        monitor.close()
        told.append(alarm.state)

    with Monitor(baseline=baseline, on_alarm=ask, settings=QUIET) as monitor:
        watched = MonitoredSession(session_of(gates(60, 3, level=0.0)), monitor)
        worker = monitor._worker
        assert worker is not None
        watched.run(None, {}, ids=[f"v{number}" for number in range(60)])
        worker._thread.join(PATIENCE)
    assert told == ["firing"] and not worker._thread.is_alive()
    assert (worker.delivery.failures, worker.delivery.last_failure) == (0, "")
