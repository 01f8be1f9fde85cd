"""What goes wrong around a monitor: overload, loggers and ids that raise, alarms that ask back, no close."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.runtime import Monitor, MonitoredSession
from gatescope.runtime.errors import MonitorError, UsageError
from gatescope.runtime.monitor.alarm import Alarm
from gatescope.runtime.monitor.baseline.baseline import Baseline
from gatescope.runtime.monitor.counting.requests import TakenRequest, count_taken
from gatescope.runtime.monitor.counting.videos import count_gates
from gatescope.runtime.monitor.serving import monitor as serving
from gatescope.runtime.monitor.serving.delivery import AlarmDelivery
from gatescope.runtime.monitor.serving.given import ids_of_samples
from gatescope.runtime.monitor.serving.intake import Intake
from gatescope.runtime.monitor.settings import MonitorSettings, WatchSettings

from ....torture.overhead import InstantSession
from ....waiting import PATIENCE, until
from .test_alarms import ALARM, CLIPS, LAYERS, MANIFEST, MODEL, QUIET, gates


@pytest.fixture
def broken_logger() -> Iterator[None]:
    """A handler of the logger ``gatescope`` that raises."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("sink down")

    handler = Broken()
    logging.getLogger("gatescope").addHandler(handler)
    yield
    logging.getLogger("gatescope").removeHandler(handler)


def session_of(pool: np.ndarray) -> InstantSession:
    return InstantSession(MANIFEST, {"gate_attention": pool[:, :LAYERS], "gate_ffn": pool[:, LAYERS:]})


def test_what_an_alarm_calls_may_ask_the_monitor_and_close_it(baseline: Baseline) -> None:
    asked: list[Any] = []
    monitor: Monitor

    def ask(alarm: Alarm) -> None:
        asked.append([one.number for one in monitor.firing])
        asked.append(monitor.snapshot().detection is not None)
        monitor.close()

    with Monitor(baseline=baseline, on_alarm=ask, settings=QUIET) as monitor:
        watched = MonitoredSession(session_of(gates(40, 3, level=0.0)), monitor)
        watched.run(None, {}, ids=[f"v{number}" for number in range(40)])
        until(lambda: asked == [[1], True])
    until(lambda: "gatescope-monitor" not in [thread.name for thread in threading.enumerate()])


def test_more_than_can_be_counted_starves_neither_scrapes_nor_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatescope.runtime.monitor.serving.worker.ROUND_SECONDS", 0.02)
    pool, stop = gates(16, 2), threading.Event()
    settings = replace(QUIET, log=replace(QUIET.log, sync_seconds=0.05))
    with Monitor(tmp_path / "log", settings=settings) as monitor:
        watched = MonitoredSession(session_of(pool), monitor)

        def feed() -> None:
            while not stop.is_set():
                watched.run(None, {})

        threads = [threading.Thread(target=feed) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            until(lambda: monitor.snapshot().fleet.state.counters["durable"] > 0)
            began = time.monotonic()
            for _ in range(3):
                monitor.snapshot()
            assert time.monotonic() - began < PATIENCE / 2  # one that waits for an empty queue never ends
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        monitor.flush()
        state = monitor.snapshot().fleet.state
        assert state.totals.videos + monitor.dropped == 16 * state.counters["requests"]


def test_one_request_larger_than_the_queue_is_watched() -> None:
    def taken(videos: int) -> TakenRequest:
        return TakenRequest(0, {"attention": np.zeros((videos, 1, 10, 1), np.float32)}, False, None, None, "")

    intake = Intake(4, 100)
    intake.put(taken(1000))
    assert (len(intake), intake.dropped) == (1, 0)
    intake.put(taken(1))
    assert intake.dropped == 1
    assert len(intake.take(9)) == 1
    intake.put(taken(1))
    assert len(intake) == 1


def test_neither_loggers_nor_ids_that_raise_reach_the_caller(broken_logger: None) -> None:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise ValueError("not even that")

    class Id:
        def __str__(self) -> str:
            raise UnprintableError

    with Monitor(settings=QUIET) as monitor:
        watched = MonitoredSession(session_of(gates(1, 2)), monitor)
        for wrong in (["a", "b"], Id()):
            assert len(watched.run(None, {}, ids=wrong)) == 2
        assert monitor.faults == 2 and monitor.last_fault == "UnprintableError"
        with pytest.raises(KeyboardInterrupt):
            watched.run(None, {}, ids=Stop())


class Stop:
    def __str__(self) -> str:
        raise KeyboardInterrupt


def test_a_logger_that_raises_costs_no_alarm(tmp_path: Path, broken_logger: None) -> None:
    told: list[Alarm] = []
    delivery = AlarmDelivery(tmp_path, told.append)
    delivery.tell([ALARM, ALARM])
    assert len(told) == 2 and len((tmp_path / "alarms.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_a_log_that_is_gone_after_a_fork_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving, "FIRST_START_PAUSE", PATIENCE)
    log = tmp_path / "log"
    with Monitor(log, settings=QUIET) as monitor:
        watched = MonitoredSession(session_of(gates(1, 2)), monitor)
        parent = monitor._worker
        assert parent is not None
        monitor.after_fork()
        parent.close()
        shutil.rmtree(log)
        log.write_text("a file", encoding="utf-8")
        monitor._pause = PATIENCE
        for _ in range(100):
            watched.run(None, {})
        assert monitor.faults == 1 and "log" in monitor.last_fault
        assert len([one for one in caplog.messages if "gates are not watched" in one]) == 1
        log.unlink()
        monitor._not_before = 0.0  # as after the pause
        watched.run(None, {})
        monitor.flush()
        assert monitor.snapshot().fleet.state.totals.videos == 1


def test_a_mask_of_too_few_rows_counts_nothing_of_its_request() -> None:
    told: list[int] = []
    pool = gates(3, 2)
    one = {"attention": pool[:, :LAYERS], "ffn": pool[:, LAYERS:]}
    taken = TakenRequest(0, one, False, np.ones((2, CLIPS)), None, "")
    assert count_taken(MODEL.layout, [taken], 0.0, lambda videos, error: told.append(videos)) is None
    assert told == [3]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (np.array(7), ["7"]),
        (np.int64(7), ["7"]),
        (7, ["7"]),
        ("abc", ["abc"]),
        ({"a"}, ["a"]),
        ((name for name in ["a"]), ["a"]),
        (np.array(["x"]), ["x"]),
    ],
)
def test_ids_of_many_kinds(ids: Any, expected: list[str]) -> None:
    assert ids_of_samples(ids, 1) == tuple(expected)


def test_a_monitor_that_is_dropped_takes_its_thread_and_its_files_with_it(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 — a Path would open one itself

    def watching() -> int:
        return [thread.name for thread in threading.enumerate()].count("gatescope-monitor")

    before, others = descriptors(), watching()
    for number in range(5):
        monitor = Monitor(tmp_path / f"log{number}", settings=QUIET)
        MonitoredSession(session_of(gates(1, 2)), monitor).run(None, {}, ids="last")
        del monitor
        gc.collect()
    until(lambda: descriptors() <= before and watching() <= others)
    for number in range(5):
        [segment] = (tmp_path / f"log{number}" / "segments").iterdir()
        assert b"last" in segment.read_bytes()


def test_the_last_inference_is_never_ahead_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    with Monitor(settings=QUIET) as monitor:
        watched = MonitoredSession(session_of(gates(1, 2)), monitor)
        real = time.time_ns
        monkeypatch.setattr("gatescope.runtime.monitor.serving.monitor.time.time_ns", lambda: real() + 10**13)
        watched.run(None, {})
        monitor.flush()
        monkeypatch.undo()
        assert monitor.snapshot().fleet.state.last_inference <= time.time()


def test_padding_is_counted_only_where_nobody_says_what_it_is(caplog: pytest.LogCaptureFixture) -> None:
    pool = gates(2, 2)
    pool[1, :, 5:] = 0
    expected = count_gates(MODEL.layout, {"attention": pool[1:, :LAYERS, :5], "ffn": pool[1:, LAYERS:, :5]})
    with Monitor(settings=QUIET) as monitor:
        watched = MonitoredSession(session_of(pool), monitor)
        watched.run(None, {}, clips=[CLIPS, 5])
        monitor.flush()
        assert caplog.messages == []
        near = monitor.snapshot().fleet.state.totals.counter("near_zero")
        first = count_gates(MODEL.layout, {"attention": pool[:1, :LAYERS], "ffn": pool[:1, LAYERS:]})
        assert np.array_equal(near, (first.counter("near_zero") + expected.counter("near_zero"))[0])
        for _ in range(2):
            watched.run(None, {})
        assert len([one for one in caplog.messages if "without a mask" in one]) == 1
        assert monitor.faults == 0
        watched.run(None, {}, clips=[CLIPS])
        assert monitor.faults == 1 and "clips=[40]" in monitor.last_fault


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (MonitorSettings, "poll_seconds", 0),
        (MonitorSettings, "keep_gates", 1.5),
        (MonitorSettings, "queue_requests", 0),
        (MonitorSettings, "state_seconds", float("nan")),
        (WatchSettings, "evaluations", 0),
        (WatchSettings, "stale_seconds", float("inf")),
        (WatchSettings, "confirm", -1),
        (MonitorSettings, "keep_gates", None),
        (MonitorSettings, "queue_requests", 1.5),
        (WatchSettings, "evaluations", 2.5),
        (WatchSettings, "stale_seconds", "300"),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind: Any, field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"{field} makes no sense\n  received: {value!r}"):
        kind(**{field: value})


def test_a_closed_monitor_watches_nothing_more() -> None:
    monitor = Monitor()
    monitor.close()
    with pytest.raises(MonitorError, match="closed"):
        MonitoredSession(session_of(gates(1, 2)), monitor)
