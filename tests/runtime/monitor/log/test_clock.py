"""A clock that jumps ahead removes nothing; time that really passed does."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from gatescope.runtime.monitor.log.clock import CLOCK_FILE, Clocks, LogTime, judged, read_clock
from gatescope.runtime.monitor.log.folder import open_folder
from gatescope.runtime.monitor.log.sealing import Maintained, maintain
from gatescope.runtime.monitor.log.writer import GateLogWriter
from gatescope.runtime.monitor.settings import LogSettings

from .logs import MANIFEST, MODEL, logged, videos_of, written_log

DAY, HOUR = 86_400.0, 3600.0
NOON = time.time()  # sealing gives folders the time it is


class Machine:
    """A machine's clocks: ``passes`` moves both, ``jump`` the one that can be set."""

    def __init__(self) -> None:
        self.wall, self.running, self.boot = NOON, 1000.0, 1

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.running += seconds

    def jump(self, seconds: float) -> None:
        self.wall += seconds

    def restart(self, off: float = 60.0) -> None:
        self.wall += off
        self.running, self.boot = 20.0, self.boot + 1

    @property
    def clocks(self) -> Clocks:
        return Clocks(self.wall, self.running, str(self.boot))


class Service:
    """A log of seven segments, the last one empty, which were written as the machine's clock says."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        self.folder, self.machine = folder, machine
        written_log(folder, videos_of(6), segment_bytes=1)
        begun = {"now": machine.wall, "running": machine.running, "boot": machine.clocks.boot}
        (folder / CLOCK_FILE).write_text(json.dumps(begun), encoding="utf-8")
        for path in (folder / "segments").iterdir():
            os.utime(path, (machine.wall, machine.wall))
        self.maintained()

    def maintained(self) -> Maintained:
        found = maintain(open_folder(self.folder), 10**9, 30.0, self.machine.clocks)
        assert found is not None
        # Sealing gives folders a new time: that of the machine's clock.
        for path in (self.folder / "sealed").iterdir():
            if path.name in found.sealed:
                os.utime(path, (self.machine.wall, self.machine.wall))
        return found

    @property
    def videos(self) -> int:
        return len(logged(self.folder))


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def service(tmp_path: Path, machine: Machine) -> Service:
    return Service(tmp_path / "log", machine)


@pytest.mark.parametrize("days", [1.5, 31, 365, 20_000])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_clock_that_jumps_ahead_removes_nothing_and_is_named(
    service: Service, machine: Machine, days: float, restarts: bool
) -> None:
    machine.passes(HOUR)
    service.maintained()
    machine.jump(days * DAY)
    if restarts:
        machine.restart()
    for _ in range(24):
        machine.passes(HOUR)
        found = service.maintained()
        assert not found.removed and "days ahead of the log" in found.doubt
    assert service.videos == 6
    machine.jump(-days * DAY)
    assert service.maintained().doubt == "" and service.videos == 6


@pytest.mark.parametrize("every", [HOUR, 40 * DAY])
def test_time_that_really_passed_removes_also_where_no_traffic_came(
    service: Service, machine: Machine, every: float
) -> None:
    passed = 0.0
    while passed < 29 * DAY and every == HOUR:
        machine.passes(every)
        passed += every
        found = service.maintained()
        assert not found.removed and not found.doubt
    machine.passes(every if every > DAY else 2 * DAY)
    found = service.maintained()
    assert len(found.removed) == 7 and not found.doubt and service.videos == 0


def test_a_machine_that_was_off_for_long_is_believed_after_a_week_of_running(
    service: Service, machine: Machine
) -> None:
    machine.passes(HOUR)
    service.maintained()
    machine.restart(off=40 * DAY)
    days = 0
    while not (found := service.maintained()).removed:
        assert "days ahead of the log" in found.doubt
        machine.passes(DAY)
        days += 1
    assert days == 7 and service.videos == 0 and not found.doubt


def test_a_jump_in_the_middle_does_not_hide_the_time_that_passes(service: Service, machine: Machine) -> None:
    """In doubt, ages go on by the time since the machine's start."""
    machine.jump(10 * DAY)
    machine.passes(DAY)
    assert service.maintained().doubt
    machine.passes(30 * DAY)
    assert len(service.maintained().removed) == 7


def test_a_night_off_and_a_clock_that_begins_at_1970_are_no_doubt(machine: Machine) -> None:
    start = LogTime(machine.wall, machine.running, machine.clocks.boot)
    machine.restart(off=10 * HOUR)
    assert judged(start, machine.clocks).now == machine.wall
    machine.restart()
    machine.jump(-machine.wall)
    at_1970 = judged(start, machine.clocks)
    assert at_1970.now == NOON and not at_1970.doubt
    machine.jump(NOON + HOUR)
    assert judged(at_1970, machine.clocks).now == machine.wall


def test_a_clock_that_was_believed_and_is_set_right_removes_nothing_new(
    service: Service, machine: Machine
) -> None:
    """What is written from then on is as young as the clock says, not older by what it was ahead."""
    believed = {"now": machine.wall + 40 * DAY, "running": machine.running, "boot": machine.clocks.boot}
    (service.folder / CLOCK_FILE).write_text(json.dumps(believed), encoding="utf-8")
    for days in (1, 28):
        machine.passes(days * DAY)
        assert not service.maintained().removed
    machine.passes(2 * DAY)
    assert len(service.maintained().removed) == 7


def test_another_jump_is_doubted_anew(machine: Machine) -> None:
    found = LogTime(machine.wall, machine.running, machine.clocks.boot)
    for _ in range(4):
        machine.jump(40 * DAY)
        machine.passes(3 * DAY)
        found = judged(found, machine.clocks)
        assert found.doubt
    assert found.now == pytest.approx(NOON + 12 * DAY)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"now": "soon"}'])
def test_a_log_without_a_readable_clock_begins_in_doubt_at_its_oldest_segment(
    service: Service, machine: Machine, content: bytes
) -> None:
    (service.folder / CLOCK_FILE).write_bytes(content)
    machine.passes(HOUR)
    machine.jump(31 * DAY)
    found = service.maintained()
    assert not found.removed and found.doubt


def test_a_service_says_once_that_its_log_doubts_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gatescope.runtime.monitor.log import writer as writing

    monkeypatch.setattr(writing.os, "posix_spawn", lambda *_, **__: 2**22 + 1)
    settings = LogSettings(segment_bytes=1)
    with GateLogWriter(tmp_path, MANIFEST, MODEL, settings) as writer:
        now = Clocks.now()
        read_clock(open_folder(tmp_path), Clocks(now.wall + 31 * DAY, now.running, now.boot), 0.0)
        for video in videos_of(4):
            writer.append([video])
            writer.tick()
        assert writer.errors == 1 and "days ahead of the log" in writer.last_error
