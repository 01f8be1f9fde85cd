"""A process of somebody else's code: its time, its words, and that nothing of it is left."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

import pytest

from gatescope.export.user.apart.group import Told, run_in_group
from tests.waiting import until

# Starts a process that would outlive it, and writes down its number.
SPAWNS = """
import pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("child").write_text(str(child.pid))
"""


def ran(folder: Path, code: str, *, seconds: float = 300, progress: Told | None = None) -> int | None:
    with (folder / "output.txt").open("wb") as output:
        said = progress or Told(lambda _: None)
        return run_in_group([sys.executable, "-c", code], output, folder, seconds, said)


def gone(pid: int) -> bool:
    """Whether there is no such process, or one that ended and nobody has asked after."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state in ("Z", "X")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 0),
        ("import os; os._exit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
    ],
)
def test_how_it_ended(tmp_path: Path, code: str, status: int) -> None:
    assert ran(tmp_path, code) == status


def test_what_never_returns_is_stopped(tmp_path: Path) -> None:
    assert ran(tmp_path, "while True: pass", seconds=0.5) is None
    assert ran(tmp_path, "import os\nos.close(1)\nwhile True: pass", seconds=0.5) is None


@pytest.mark.parametrize("end", ["", "import os; os._exit(1)", "while True: pass"])
def test_what_it_started_ends_with_it(tmp_path: Path, end: str) -> None:
    def tell(_: str) -> None:
        raise AssertionError

    ran(tmp_path, SPAWNS + end, seconds=300 if not end.startswith("while") else 3, progress=Told(tell))
    if (tmp_path / "child").exists():  # a busy machine may not have come so far
        child = int((tmp_path / "child").read_text(encoding="utf-8"))
        until(lambda: gone(child))


def test_a_child_that_keeps_the_pipe_does_not_hold_the_command(tmp_path: Path) -> None:
    code = "import os, time\nif os.fork() == 0:\n    time.sleep(600)\n"
    assert ran(tmp_path, code) == 0


def test_an_interrupt_ends_the_whole_group(tmp_path: Path) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    code = SPAWNS + 'print(\'["tell", "building"]\', flush=True)\nimport time; time.sleep(600)'
    with pytest.raises(KeyboardInterrupt):
        ran(tmp_path, code, progress=Told(interrupted))
    child = int((tmp_path / "child").read_text(encoding="utf-8"))
    until(lambda: gone(child))


def test_nothing_is_left_when_the_command_itself_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    there = "from gatescope.export.user.apart.group import end_with; import sys, pathlib"
    orphan = f"{there}; end_with(int(sys.argv[1]), pathlib.Path({str(folder)!r}))"
    code = (
        f"import os, subprocess, sys\ncommand = [sys.executable, '-c', {orphan!r}, str(os.getpid())]\n"
        f"child = subprocess.Popen(command, start_new_session=True)\n"
        f"open('child', 'w').write(str(child.pid))\nos._exit(0)"
    )
    assert ran(tmp_path, code) == 0
    child = int((tmp_path / "child").read_text(encoding="utf-8"))
    until(lambda: gone(child) and not folder.exists())


def test_no_gpu_and_nobody_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    shown = "[os.environ['CUDA_VISIBLE_DEVICES'], sys.stdin.read()]"
    code = f"import os, sys\nprint({shown}, os.getcwd(), file=sys.stderr)"
    assert ran(tmp_path, code) == 0
    assert (tmp_path / "output.txt").read_text(
        encoding="utf-8"
    ).strip() == f"['', ''] {os.path.realpath(tmp_path)}"


def test_progress_is_told_and_noise_is_not(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    progress = Told(told.append)
    with caplog.at_level(logging.WARNING, logger="gatescope"):
        for chunk in (
            b'["tell", "bui',
            b'lding"]\nnoise\n3\n{}\n["warning", "odd"]\n',
            b'["doing", "loading"]\n["te',
        ):
            progress.take(chunk)
    assert told == ["building"] and progress.doing == "loading"
    assert [record.getMessage() for record in caplog.records] == ["odd"]
