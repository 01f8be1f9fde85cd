"""A process with a group of its own: what it says on the way, and that nothing of it outlives its time."""

from __future__ import annotations

import json
import logging
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

# No GPU for the code, no bytecode in the user's folders.
_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "HIP_VISIBLE_DEVICES": "",
    "ROCR_VISIBLE_DEVICES": "",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
_LOOKS_SECONDS = 0.1
# How often the process looks whether the one that called it is still there.
_PARENT_SECONDS = 1.0

_log = logging.getLogger("gatescope")


class Told:
    """What a process says on its way: lines of JSON, each a kind and a text.

    ``doing`` is the last thing it said it does; ``tell`` is called with what is to be shown.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._rest = b""
        self.doing = "starting"

    def take(self, chunk: bytes) -> None:
        """Pass on every complete line; what is none of ours is not shown."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            try:
                kind, text = json.loads(line)
            except (ValueError, TypeError):  # a process that the code forked may write here too
                continue
            if kind == "warning":
                _log.warning("%s", text)
            else:
                self.doing = text
            if kind == "tell":
                self._tell(text)


def run_in_group(
    command: Sequence[str], output: IO[bytes], folder: Path, seconds: float, progress: Told
) -> int | None:
    """Run ``command`` in ``folder``, without input and GPUs, and end with it whatever it started.

    Its standard output goes to ``progress``, its standard error to ``output``. Returns its exit status (the
    negative number of the signal that ended it), or None where it took longer than ``seconds``. Only what
    leaves the group on purpose is not ended.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=output,
        cwd=folder,
        env={**os.environ, **_ENVIRONMENT},
        start_new_session=True,
    )
    try:
        ended = _listen(process, time.monotonic() + seconds, progress)
    finally:
        # Not yet waited for, so that the number is still that of this group.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    return process.returncode if ended else None


def _listen(process: subprocess.Popen[bytes], until: float, progress: Told) -> bool:
    """Take what the process says until it ends; False where the time was over before."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        open_ = True
        while time.monotonic() < until:
            if open_ and selector.select(_LOOKS_SECONDS):
                chunk = os.read(process.stdout.fileno(), 1 << 16)
                progress.take(chunk)
                open_ = bool(chunk)
            elif os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
            elif not open_:
                time.sleep(_LOOKS_SECONDS)
    return False


def end_with(parent: int, temporary: Path) -> None:
    """End this process and all that it started when ``parent`` is gone, which cannot clear up any more."""
    while os.getppid() == parent:
        time.sleep(_PARENT_SECONDS)
    shutil.rmtree(temporary, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)
