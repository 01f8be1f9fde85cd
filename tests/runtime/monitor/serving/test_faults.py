"""Faults of what a caller gives and of a fork that cannot begin: counted, said once, tried again."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.runtime import Monitor, MonitoredSession
from gatescope.runtime.errors import GateLogError
from gatescope.runtime.monitor.counting.requests import TakenRequest
from gatescope.runtime.monitor.serving import monitor as serving
from gatescope.runtime.monitor.serving.given import ids_of_samples
from gatescope.runtime.monitor.serving.worker import Worker

from .test_alarms import CLIPS, QUIET, gates
from .test_overload import session_of


class Tensor:
    """As those of PyTorch: can be gone through, but not where it has no axis, and prints as what it is."""

    def __init__(self, values: list[int] | int) -> None:
        self._values = values

    def tolist(self) -> list[int] | int:
        return self._values

    def __iter__(self) -> Iterator[Tensor]:
        if isinstance(self._values, int):
            raise TypeError("iteration over a 0-d tensor")
        return (Tensor(one) for one in self._values)

    def __str__(self) -> str:
        return f"tensor({self._values})"


@pytest.mark.parametrize(
    "ids", [Tensor([7]), Tensor(7), [Tensor(7)], (Tensor(7) for _ in "x"), np.array([7])]
)
def test_a_number_is_the_same_id_in_whatever_it_comes(ids: Any) -> None:
    assert ids_of_samples(ids, 1) == ("7",)


def test_ids_without_an_end_are_too_many_and_not_gone_through() -> None:
    with pytest.raises(ValueError, match="more than 2 ids for 2 samples"):
        ids_of_samples(itertools.count(), 2)


@pytest.mark.parametrize("clips", [[CLIPS + 1, 1], [-1, 1], [1], [1.5, 1]])
def test_clips_that_a_sample_cannot_have_are_a_fault(clips: Any) -> None:
    with Monitor(settings=QUIET) as monitor:
        MonitoredSession(session_of(gates(2, 2)), monitor).run(None, {}, clips=clips)
        monitor.flush()
        assert monitor.faults == 1 and monitor.snapshot().fleet.state.totals.videos == 0


def test_padding_is_told_of_even_where_the_first_batch_had_one_clip(caplog: pytest.LogCaptureFixture) -> None:
    pool = gates(2, 2)
    with Monitor(settings=QUIET) as monitor:
        for clips in (1, CLIPS):
            assert caplog.messages == []
            MonitoredSession(session_of(pool[:, :, :clips]), monitor).run(None, {})
        assert len([one for one in caplog.messages if "without a mask" in one]) == 1


def test_what_cannot_be_counted_nor_printed_costs_no_other_request(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unprintable(Exception):  # noqa: N818 — its name is what is told of it
        def __str__(self) -> str:
            raise ValueError("not even that")

    def broken(taken: TakenRequest) -> tuple[int, ...] | None:
        if taken.ids == ("wrong",):
            raise Unprintable
        return None

    with Monitor(settings=QUIET) as monitor:
        watched = MonitoredSession(session_of(gates(1, 2)), monitor)
        worker = monitor._worker
        assert worker is not None
        monkeypatch.setattr(TakenRequest, "clips", property(broken))
        with worker._work_lock:
            watched.run(None, {}, ids="wrong")
            watched.run(None, {}, ids="right")
        monitor.flush()
        assert (monitor.faults, monitor.snapshot().fleet.state.totals.videos) == (1, 1)
        assert monitor.last_fault.endswith("1 videos could not be counted: Unprintable")


def test_beginning_again_is_said_once_and_pauses_as_long_for_many_threads_as_for_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, threads, begun = [100.0], 8, threading.Barrier(8)

    def broken(*_: Any) -> Worker:
        raise GateLogError("the log is gone")

    def request() -> None:
        begun.wait()
        watched.run(None, {})

    with Monitor(settings=QUIET) as monitor:
        watched = MonitoredSession(session_of(gates(1, 2)), monitor)
        parent = monitor._worker
        assert parent is not None
        monitor.after_fork()
        parent.close()
        with monkeypatch.context() as gone, ThreadPoolExecutor(threads) as pool:
            gone.setattr(serving, "Worker", broken)
            gone.setattr(serving.time, "monotonic", lambda: clock[0])
            for pause in (1, 2, 4, 8, 16, 32, 60, 60):
                for done in [pool.submit(request) for _ in range(threads)]:
                    done.result()
                assert monitor._not_before == clock[0] + pause
                faults = monitor.faults
                watched.run(None, {})
                assert monitor.faults == faults >= 1
                clock[0] += pause
        assert len([one for one in caplog.messages if "the log is gone" in one]) == 1
        monitor._not_before = 0.0
        watched.run(None, {})
        monitor.flush()
        assert monitor.snapshot().fleet.state.totals.videos == 1
        assert (monitor._pause, monitor._not_before) == (1.0, 0.0)


def test_a_child_begins_with_no_faults_of_its_parent(tmp_path: Path) -> None:
    with Monitor(tmp_path / "log", settings=QUIET) as monitor:
        MonitoredSession(session_of(gates(1, 2)), monitor)
        parent = monitor._worker
        assert parent is not None
        monitor._failed_to_start(GateLogError("the log is gone"))
        monitor.after_fork()
        parent.close()
        assert (monitor.faults, monitor.last_fault, monitor._not_before) == (0, "", 0.0)


def test_clips_win_over_the_mask() -> None:
    feed = {"src_vid_mask": np.ones((2, CLIPS), np.float32)}
    pool = gates(2, 2)
    pool[1, :, 5:] = 0
    with Monitor(settings=QUIET) as monitor:
        watched = MonitoredSession(session_of(pool), monitor)
        watched.run(None, feed, clips=[CLIPS, 5])
        monitor.flush()
        cut = monitor.snapshot().fleet.state.totals.counter("near_zero").copy()
        watched.run(None, feed)
        monitor.flush()
        both = monitor.snapshot().fleet.state.totals.counter("near_zero")
        assert np.array_equal(both - 2 * cut, np.full_like(cut, CLIPS - 5))
        assert monitor.faults == 0
