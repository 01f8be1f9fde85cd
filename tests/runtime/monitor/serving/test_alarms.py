"""From a request to an alarm: told to a function, a command, a file and the log, and none of them harms."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.runtime.errors import UsageError
from gatescope.runtime.monitor.alarm import Alarm, Diagnosis
from gatescope.runtime.monitor.baseline.baseline import Baseline
from gatescope.runtime.monitor.describe import alarm_text, headline
from gatescope.runtime.monitor.model import WatchedModel
from gatescope.runtime.monitor.serving.delivery import ALARMS_FILE, AlarmDelivery
from gatescope.runtime.monitor.serving.monitor import Monitor
from gatescope.runtime.monitor.serving.on_alarm import AlarmCommand
from gatescope.runtime.monitor.serving.session import MonitoredSession
from gatescope.runtime.monitor.settings import LogSettings, MonitorSettings

from ....torture.overhead import InstantSession
from ....waiting import PATIENCE
from ...tiny_model import tiny_manifest

LAYERS, CLIPS = 2, 40
MANIFEST = tiny_manifest("clipwise", LAYERS)
MODEL = WatchedModel.of(MANIFEST)
QUIET = MonitorSettings(poll_seconds=0.01, log=LogSettings(seal=False))
ALARM = Alarm(3, "firing", "m", "", ("drift",), 25, 1.0, 2.0, 30, Diagnosis("silent audio"), ())


def gates(videos: int, seed: int, level: float = 0.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    own = level + 0.1 * rng.normal(0, 1, (videos, 2 * LAYERS, 1, 1))
    return np.tanh(own + 0.2 * rng.normal(0, 1, (videos, 2 * LAYERS, CLIPS, 1))).astype(np.float32)


def serve(monitor: Monitor, pool: np.ndarray, first: int = 0) -> None:
    session = InstantSession(MANIFEST, {"gate_attention": pool[:1, :LAYERS], "gate_ffn": pool[:1, LAYERS:]})
    watched = MonitoredSession(session, monitor)
    for number, one in enumerate(pool, first):
        session.answer(gate_attention=one[None, :LAYERS], gate_ffn=one[None, LAYERS:])
        watched.run(None, {}, ids=f"v{number}")
    monitor.flush()


def test_an_alarm_is_told_everywhere_with_the_videos_and_their_segment(
    tmp_path: Path, baseline: Baseline, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Alarm] = []
    with Monitor(tmp_path / "log", baseline=baseline, on_alarm=told.append, settings=QUIET) as monitor:
        serve(monitor, gates(60, 2))
        assert told == [] and monitor.firing == []
        serve(monitor, gates(60, 3, level=0.0), first=60)
        assert len(told) == 1 and monitor.alarms == told
        assert [alarm.number for alarm in monitor.firing] == [1]
        serve(monitor, gates(500, 4), first=120)
        assert [alarm.state for alarm in told] == ["firing", "resolved"] and monitor.firing == []
    alarm = told[0]
    assert {"drift", "level"} <= set(alarm.kinds)
    segments = {path.stem for path in (tmp_path / "log" / "segments").iterdir()}
    assert {example.segment for example in alarm.examples} <= segments
    lines = (tmp_path / "log" / ALARMS_FILE).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["number"] for line in lines] == [1, 1]
    assert json.loads(lines[0])["examples"][0]["sample_id"] == alarm.examples[0].sample_id
    assert headline(alarm) in caplog.messages[0]


def test_a_function_that_raises_is_counted_and_asked_again(tmp_path: Path, baseline: Baseline) -> None:
    def broken(alarm: Alarm) -> None:
        raise RuntimeError(f"cannot tell {alarm.number}")

    with Monitor(tmp_path / "log", baseline=baseline, on_alarm=broken, settings=QUIET) as monitor:
        serve(monitor, gates(60, 3, level=0.0))
        assert len(monitor.alarms) == 1
        assert monitor.faults == 0
        assert monitor.snapshot().fleet.state.counters["deliveries_failed"] == 1


def test_a_command_gets_the_alarm_as_json(tmp_path: Path) -> None:
    script = tmp_path / "tell.py"
    script.write_text(
        "import sys, pathlib; pathlib.Path(sys.argv[1]).open('a').write(sys.stdin.read())", encoding="utf-8"
    )
    command = AlarmCommand(f"{sys.executable} {script} '{tmp_path}/a file'")
    command.tell([ALARM, ALARM])
    command.close()
    lines = (tmp_path / "a file").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [json.loads(ALARM.to_json())] * 2
    assert command.failures == 0


@pytest.mark.parametrize(
    ("command", "seconds", "why"),
    [
        (
            f"{sys.executable} -c 'import sys; sys.exit(\"out of order\")'",
            PATIENCE,
            "exit code 1 out of order",
        ),
        (f"{sys.executable} -c 'import time; time.sleep(600)'", 0.5, "still running after 0.5 s"),
    ],
)
def test_a_command_that_fails_is_counted_and_says_why(command: str, seconds: float, why: str) -> None:
    runner = AlarmCommand(command, seconds=seconds)
    runner.tell([ALARM])
    runner.close(PATIENCE)
    assert runner.failures == 1 and why in runner.last_failure


def test_a_command_that_goes_away_later_is_counted(tmp_path: Path) -> None:
    program = tmp_path / "notify"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    runner = AlarmCommand(str(program))
    program.unlink()
    runner.tell([ALARM])
    runner.close(PATIENCE)
    assert runner.failures == 1 and "No such file" in runner.last_failure


def test_a_command_that_cannot_run_is_refused_at_the_start(tmp_path: Path) -> None:
    plain = tmp_path / "notify"
    plain.write_text("#!/bin/sh\n", encoding="utf-8")
    plain.chmod(0o644)
    for command in ("/no/such/command", "no-such-command --now", str(plain)):
        with pytest.raises(UsageError, match="cannot be run") as caught:
            Monitor(on_alarm=command)
        assert command.split()[0] in str(caught.value)


def test_a_slow_command_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends when the test says so: 100 alarms wait for it at most, and one is being told."""
    may_end, ended = threading.Event(), list[bool]()

    def command(words: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        ended.append(may_end.wait(PATIENCE))
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr("gatescope.runtime.monitor.serving.on_alarm.subprocess.run", command)
    runner = AlarmCommand(sys.executable)
    runner.tell([ALARM] * 150)
    assert ended == []
    assert runner.failures in (49, 50) and "wait for the command already" in runner.last_failure
    may_end.set()
    runner.close(PATIENCE)
    assert len(ended) + runner.failures == 150 and all(ended)


@pytest.mark.parametrize("command", ["", "   ", "a 'b"])
def test_commands_that_cannot_be_read_are_bad_usage(command: str) -> None:
    with pytest.raises(UsageError):
        Monitor(on_alarm=command)


def test_a_folder_that_went_away_is_counted(tmp_path: Path) -> None:
    delivery = AlarmDelivery(tmp_path / "gone", None)
    delivery.tell([ALARM])
    assert delivery.failures == 1 and "No such file" in delivery.last_failure
    assert list(delivery.recent) == [ALARM]


def test_alarms_in_words(baseline: Baseline) -> None:
    told: list[Alarm] = []
    with Monitor(baseline=baseline, on_alarm=told.append, settings=QUIET) as monitor:
        serve(monitor, gates(60, 3, level=0.0))
    text = alarm_text(told[0])
    assert "alarm 1 in all traffic: unknown" in text
    assert "threshold" in text and "look at: v" in text and "more beyond their thresholds" in text
    assert "resolved in all traffic" in headline(Alarm(**{**told[0].__dict__, "state": "resolved"}))
