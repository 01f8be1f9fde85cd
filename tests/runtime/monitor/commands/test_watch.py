"""``gatescope monitor watch`` and the sidecar behind it, beside a process that writes the log."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gatescope.runtime.errors import GateLogError
from gatescope.runtime.monitor.baseline.stored import load_baseline
from gatescope.runtime.monitor.commands import watch as watch_command
from gatescope.runtime.monitor.metrics import server
from gatescope.runtime.monitor.serving.sidecar import Sidecar

from ....waiting import PATIENCE, until
from .world import Commands, broken, well, write_log, writer_of


class Watching:
    """``gatescope monitor watch`` in a process of its own; its outputs go to files."""

    def __init__(self, folder: Path, *words: object) -> None:
        self._out, self._err = folder / "watch.out", folder / "watch.err"
        command = [sys.executable, "-m", "gatescope.runtime.cli.main", "monitor", "watch"]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen([*command, *map(str, words)], stdout=out, stderr=err)
        until(lambda: "watching" in self.err or self.process.poll() is not None)

    @property
    def out(self) -> str:
        """So far."""
        return self._out.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        """So far."""
        return self._err.read_text(encoding="utf-8")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def watching(folder: Path, *words: object) -> Iterator[Watching]:
    """Killed in the end, whatever happened."""
    one = Watching(folder, *words)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()


@pytest.mark.slow
def test_from_the_log_to_the_alarm_the_command_and_the_metrics(tmp_path: Path, baseline: Path) -> None:
    log, told, text = tmp_path / "log", tmp_path / "told", tmp_path / "metrics.prom"
    script = tmp_path / "notify.py"
    script.write_text(f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read())", encoding="utf-8")
    with writer_of(log) as writer:
        writer.append(well(40))
        options = ["--baseline", baseline, "--on-alarm", f"{sys.executable} {script}"]
        options += ["--metrics-port", 0, "--metrics-file", text]
        with watching(tmp_path, log, *options) as watch:
            assert text.is_file()
            found = re.search(r"metrics at (http://127\.0\.0\.1:\d+/metrics)", watch.err)
            assert found is not None
            writer.append(broken(40, first=40))
            until(lambda: "alarm 1" in watch.out and told.exists() and told.read_text(encoding="utf-8"))
            with urllib.request.urlopen(found[1], timeout=PATIENCE) as page:
                metrics = page.read().decode()
            assert re.search(r'gatescope_alarm_firing\{kind="level",model="\w+",slice=""\} 1\.0', metrics)
            # What was in the log before is not watched.
            assert re.search(r'gatescope_watched_videos_total\{model="\w+"\} 40\.0', metrics)
            writer.append(well(500, first=80))
            until(lambda: "alarm 1 resolved" in watch.out)
            until(lambda: told.read_text(encoding="utf-8").count("\n") == 2)
            assert watch.end() == 0
    assert watch.out.endswith("watched 540 videos\n")
    assert re.search(r"the (attention|ffn) gate of layer \d is -0\.\d+ on average, 0\.\d+", watch.out)
    assert "look at: v" in watch.out
    # Each alarm is said once, and not again by a logger.
    assert len(re.findall(r"alarm 1 in all traffic", watch.out + watch.err)) == 1
    alarms = [json.loads(line) for line in told.read_text(encoding="utf-8").splitlines()]
    assert [one["state"] for one in alarms] == ["firing", "resolved"]
    assert [
        json.loads(line) for line in (log / "alarms.jsonl").read_text(encoding="utf-8").splitlines()
    ] == alarms


@pytest.mark.slow
def test_as_json_from_the_beginning_until_interrupted(tmp_path: Path, baseline: Path) -> None:
    log = write_log(tmp_path / "log", well(40), broken(40, first=40))
    with watching(tmp_path, log, "--baseline", baseline, "--from-beginning", "--json") as watch:
        until(lambda: "firing" in watch.out)
        assert watch.end(signal.SIGINT) == 0
    first, last = (json.loads(line) for line in watch.out.splitlines())
    assert (first["state"], last) == ("firing", {"videos": 80})


@pytest.mark.slow
def test_a_command_that_fails_is_said(tmp_path: Path, baseline: Path) -> None:
    log = write_log(tmp_path / "log", well(40), broken(40, first=40))
    options = [
        "--baseline",
        baseline,
        "--from-beginning",
        "--on-alarm",
        f"{sys.executable} -c 'import sys; sys.exit(3)'",
    ]
    with watching(tmp_path, log, *options) as watch:
        until(lambda: "exit code 3" in watch.err)
        assert watch.end() == 0
    assert "alarm 1" in watch.out and "could not be delivered" in watch.err


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes where the command sleeps, and only there: in a second it does what it always does."""
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


@pytest.mark.usefixtures("clock")
def test_stops_by_itself(tmp_path: Path, monitor: Commands, baseline: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    log = write_log(tmp_path / "log", well(40))
    said = monitor("watch", log, "--baseline", baseline, "--from-beginning", "--seconds", "0.1")
    assert (said.code, said.out) == (0, "watched 40 videos\n")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.usefixtures("clock")
def test_stale_traffic_after_so_many_seconds(tmp_path: Path, monitor: Commands, baseline: Path) -> None:
    log = write_log(tmp_path / "log", well(40))
    said = monitor("watch", log, "--baseline", baseline, "--stale-seconds", "300", "--seconds", "302")
    assert said.code == 0 and "no traffic" in said.out


@pytest.mark.usefixtures("clock")
def test_how_sure_it_must_be(tmp_path: Path, monitor: Commands, baseline: Path) -> None:
    log = write_log(tmp_path / "log", broken(40))
    words = ["watch", log, "--baseline", baseline, "--from-beginning", "--seconds", "0.1"]
    assert "alarm 1" in monitor(*words).out
    assert monitor(*words, "--at-once", "1000", "--confirm", "9").out == "watched 40 videos\n"


def test_a_port_in_use(tmp_path: Path, monitor: Commands, baseline: Path) -> None:
    log = write_log(tmp_path / "log", well(4))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = monitor("watch", log, "--baseline", baseline, "--metrics-port", port)
    assert said.code == 1
    assert f"port {port} on 127.0.0.1 is taken" in said.err and "another port" in said.err


@pytest.mark.usefixtures("clock")
def test_hosts_and_files_of_metrics_that_cannot_be(tmp_path: Path, monitor: Commands, baseline: Path) -> None:
    log = write_log(tmp_path / "log", well(4))
    words = ["watch", log, "--baseline", baseline, "--seconds", "0.1"]
    assert monitor(*words, "--metrics-port", 70_000).code in (1, 2)
    said = monitor(*words, "--metrics-port", 0, "--metrics-host", "192.0.2.1")
    assert said.code == 1 and "192.0.2.1" in said.err
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    said = monitor(*words, "--metrics-file", tmp_path / "file" / "m.prom")
    assert said.code == 1 and "m.prom" in said.err


@pytest.mark.usefixtures("clock")
def test_a_metrics_file_that_can_no_longer_be_written_ends_nothing(
    tmp_path: Path, monitor: Commands, baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_command, "METRICS_FILE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(watch_command, "READ_EVERY_SECONDS", 0.1)
    log, folder = write_log(tmp_path / "log", well(4)), tmp_path / "metrics"
    folder.mkdir()
    real, calls = server.exposition, 0

    def full(snapshot: Any) -> str:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")
        return real(snapshot)

    monkeypatch.setattr(server, "exposition", full)
    words = ["--metrics-file", folder / "m.prom", "--seconds", "0.5"]
    said = monitor("watch", log, "--baseline", baseline, *words)
    assert said.code == 0 and calls > 2
    assert said.err.count("No space left on device") == 1 and "m.prom" in said.err
    assert [path.name for path in folder.iterdir()] == ["m.prom"]


@pytest.mark.usefixtures("clock")
def test_a_segment_of_a_newer_version_is_said_and_the_rest_is_watched(
    tmp_path: Path, monitor: Commands, baseline: Path
) -> None:
    log = write_log(tmp_path / "log", well(30))
    newer = log / "segments" / "z-1-000000.gatelog"
    [segment] = (log / "segments").glob("*.gatelog")
    data = segment.read_bytes()
    copy = bytearray(data[:16])
    copy[4:6] = (99).to_bytes(2, "little")
    newer.write_bytes(bytes(copy) * 3 + data[48:])
    words = ["--baseline", baseline]
    said = monitor("watch", log, *words, "--from-beginning", "--seconds", "0.1")
    assert said.code == 0 and "watched 30 videos" in said.out
    assert "z-1-000000 cannot be followed" in said.err and "newer" in said.err
    said = monitor("replay", log, *words)
    assert said.code == 1 and "newer gatescope" in said.err
    assert monitor("recover", log).code == 3


@pytest.mark.parametrize("command", ["watch", "replay", "recover"])
@pytest.mark.parametrize("what", ["nothing", "empty folder", "a file", "damaged", "newer"])
def test_folders_that_are_no_log(
    tmp_path: Path, monitor: Commands, baseline: Path, command: str, what: str
) -> None:
    log = tmp_path / "log"
    if what == "empty folder":
        log.mkdir()
    elif what == "a file":
        log.write_text("x", encoding="utf-8")
    elif what != "nothing":
        write_log(log, [])
        (log / "log.json").write_text(
            "{" if what == "damaged" else '{"format_version": 99}', encoding="utf-8"
        )
        for segment in (log / "segments").iterdir():
            segment.unlink()
    said = monitor(command, log, *([] if command == "recover" else ["--baseline", baseline]))
    assert said.code == 1 and str(log) in said.err


@pytest.mark.parametrize(
    ("command", "flag", "value"),
    [
        ("watch", "--at-once", "0"),
        ("watch", "--at-once", "nan"),
        ("watch", "--confirm", "-1"),
        ("watch", "--stale-seconds", "inf"),
        ("watch", "--seconds", "-3"),
        ("watch", "--metrics-port", "http"),
        ("watch", "--on-alarm", "unclosed 'quote"),
        ("watch", "--on-alarm", ""),
        ("replay", "--window", "9"),
        ("replay", "--window", "25.5"),
        ("replay", "--false-alarms", "1"),
        ("replay", "--false-alarms", "nan"),
        ("check", "--false-alarms", "0"),
        ("baseline", "--fault-videos", "0"),
        ("alerts", "--stale-seconds", "x"),
    ],
)
def test_values_that_make_no_sense_are_bad_usage(
    tmp_path: Path, monitor: Commands, baseline: Path, command: str, flag: str, value: str
) -> None:
    place = [] if command == "alerts" else [write_log(tmp_path / "log", well(4))]
    own = ["--output", tmp_path / "out"] if command in ("baseline", "alerts") else []
    held = [] if command == "baseline" else ["--baseline", baseline]
    said = monitor(command, *place, *own, *held, flag, value)
    assert said.code == 2
    assert flag in said.err or repr(value) in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["baseline", "check", "watch", "replay", "recover", "alerts"])
def test_every_subcommand_has_help_with_an_example(monitor: Commands, command: str) -> None:
    said = monitor(command, "--help")
    assert said.code == 0
    assert f"gatescope monitor {command}" in said.out.split("example:")[1]


def test_no_subcommand_is_bad_usage(monitor: Commands) -> None:
    assert monitor().code == 2
    assert monitor("observe").code == 2


def test_a_sidecar_sees_each_process_of_the_service(tmp_path: Path, baseline: Path) -> None:
    with writer_of(tmp_path / "log") as one, writer_of(tmp_path / "log") as other:
        one.append(well(5))
        with Sidecar(tmp_path / "log", load_baseline(baseline)) as sidecar:
            assert sidecar.step() == []
            one.append(well(20, first=100))
            other.append(well(20, first=200))
            assert sidecar.step() == []
            assert sidecar.videos == 40
            snapshot = sidecar.snapshot()
            assert snapshot.detection is not None and snapshot.detection.watched == 40
            told: list[str] = []
            sidecar.delivery.close()
            other.append(broken(30, first=300))
            told += [alarm.state for alarm in sidecar.step()]
            assert told == ["firing"]
    with pytest.raises(GateLogError, match="not a gate log"):
        Sidecar(tmp_path, load_baseline(baseline))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_log_that_may_not_be_read(tmp_path: Path, monitor: Commands, baseline: Path) -> None:
    log = write_log(tmp_path / "log", well(4))
    (log / "log.json").chmod(0)
    said = monitor("watch", log, "--baseline", baseline)
    assert said.code == 1 and "Permission denied" in said.err
