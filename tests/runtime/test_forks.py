"""A forked child: sessions answer there as they did, come to an end, and leave the parent's files alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
import torch

from gatescope.runtime import GateSession, Monitor, MonitoredSession
from gatescope.runtime.errors import DeviceError
from gatescope.runtime.forks import remove_with
from gatescope.runtime.monitor.log.reader import read_log
from gatescope.runtime.monitor.settings import LogSettings, MonitorSettings
from gatescope.runtime.session.device import DeviceOptions
from gatescope.runtime.tracking.history import GateHistory

from .tiny_model import tiny_batch, tiny_model
from .tiny_torch import tiny_torch

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

# Far more than anything here takes: only a child that waits for ever needs it.
SECONDS = 60


def in_child(work: Callable[[], bool]) -> bool:
    """Whether ``work`` is true in a forked child. One that hangs is ended, and False."""
    child = os.fork()
    if child == 0:
        good = False
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        try:
            good = work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0 if good else 1)
    return os.waitpid(child, 0)[1] == 0


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return list(one) == list(other) and all(np.allclose(other[name], one[name], atol=1e-6) for name in one)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tiny_model(tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_a_session_answers_in_a_child_as_in_its_parent(model: Path) -> None:
    with GateSession(model, device="cpu", threads=2) as session:
        batch = tiny_batch(session.manifest, (5, 3, 4, 2), (1, 2, 3, 1))
        one = tiny_batch(session.manifest, (5,), (2,))
        want, want_one = session.run(batch).raw, session.run(one).raw

        def work() -> bool:
            found = same(want, session.run(batch).raw) and same(want_one, session.run(one).raw)
            # A child of the child, too.
            return found and in_child(lambda: same(want, session.run(batch).raw))

        assert in_child(work)
        assert same(want, session.run(batch).raw)


@pytest.fixture
def torch_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_session_of_pytorch_does_not_wait_in_a_child_for_the_parents_threads(
    tmp_path: Path, torch_threads: None
) -> None:
    tiny_torch(tmp_path / "model", "torchscript")
    much = torch.ones(1_000_000)
    with GateSession(tmp_path / "model", device="cpu", threads=2) as session:
        batch = tiny_batch(session.manifest, (5, 3, 4, 2), (1, 2, 3, 1))
        want = session.run(batch).raw
        torch.tanh(much)  # the model is too small to wake PyTorch's threads by itself

        def work() -> bool:
            found = same(want, session.run(batch).raw)
            torch.tanh(much)
            return found

        assert in_child(work)


def test_a_child_that_closes_its_session_does_not_wait_for_the_parents_threads(model: Path) -> None:
    session = GateSession(model, device="cpu", threads=2)
    batch = tiny_batch(session.manifest, (5, 3), (1, 2))
    want = session.run(batch).raw

    def work() -> bool:
        nonlocal session
        found = same(want, session.run(batch).raw)
        session.close()
        del session
        return found

    assert in_child(work)


def test_a_child_comes_to_its_own_end_with_its_own_exit_code(model: Path) -> None:
    """As a worker of a service does: through the interpreter's end and the C library's."""
    script = """
import os, sys
from gatescope.runtime import GateSession
session = GateSession(sys.argv[1], device="cpu", threads=2)
child = os.fork()
if child == 0:
    import signal
    signal.alarm(60)
    print("from the child")
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, model], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.split("\n")[:2] == ["from the child", "7"]


def test_a_fork_amid_another_threads_run_leaves_no_lock_held(model: Path) -> None:
    """The thread stands in ONNX Runtime while the process forks: what it holds there nobody will release."""
    with GateSession(model, device="cpu", threads=2) as session:
        batch = tiny_batch(session.manifest, (5, 3, 4, 2), (1, 2, 3, 1))
        want = session.run(batch).raw
        backend: Any = session._backend
        amid, go_on, held = threading.Event(), threading.Event(), threading.Lock()

        class Held:
            """The real session, which one thread at a time may run, as an allocator's lock does it."""

            def __init__(self, inner: Any) -> None:
                self.inner = inner

            def run(self, *args: Any) -> Any:
                with held:
                    amid.set()
                    go_on.wait(SECONDS)
                    return self.inner.run(*args)

        backend._session, backend._lane_session = Held(backend._session), Held(backend._lane_session)
        thread = threading.Thread(target=session.run, args=(batch,))
        thread.start()
        try:
            assert amid.wait(SECONDS)
            assert in_child(lambda: same(want, session.run(batch).raw))
        finally:
            go_on.set()
            thread.join(SECONDS)
        assert same(want, session.run(batch).raw)


def onnx_runtime(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def gate_session(path: Path) -> Any:
    return GateSession(path, device="cpu", threads=2)


@pytest.mark.parametrize("opened", [gate_session, onnx_runtime])
def test_a_watched_session_is_watched_in_a_child_and_its_end_is_one(
    model: Path, tmp_path: Path, opened: Callable[[Path], Any]
) -> None:
    settings = MonitorSettings(poll_seconds=0.01, log=LogSettings(seal=False))
    with Monitor(tmp_path / "log", settings=settings) as monitor:
        session = opened(model)
        watched = MonitoredSession(session, monitor)
        manifest = tiny_model(tmp_path / "same.onnx")
        batch = tiny_batch(manifest, (5, 3, 4, 2), (1, 2, 3, 1))
        args: Any = (batch,) if isinstance(session, GateSession) else (None, _feed(session, batch))
        watched.run(*args, ids=list("abcd"))
        monitor.flush()

        def work() -> bool:
            nonlocal session, watched
            watched.run(*args, ids=list("efgh"))
            monitor.flush()
            monitor.close()
            faults = monitor.faults
            del session, watched
            return faults == 0

        assert in_child(work)
        watched.run(*args, ids=list("ijkl"))
        monitor.flush()
        assert monitor.faults == 0
    assert sorted(one.video.sample_id for one in read_log(tmp_path / "log")) == sorted("abcdefghijkl")


def _feed(session: Any, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {one.name: batch[one.name] for one in session.get_inputs()}


def test_a_tracker_that_another_thread_holds_is_free_in_a_child(model: Path) -> None:
    with GateSession(model, device="cpu", threads=2) as session:
        batch = tiny_batch(session.manifest, (5, 3), (1, 2))
        session.tracker.enable_gate_tracking()
        held, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            with session.tracker._lock, session.tracker.gate_history.lock:
                held.set()
                go_on.wait(SECONDS)

        thread = threading.Thread(target=hold)
        thread.start()
        try:
            assert held.wait(SECONDS)

            def work() -> bool:
                session.tracker.set_current_sample_id("child")
                session.run(batch)
                return list(session.tracker.gate_history) == ["child"]

            assert in_child(work)
        finally:
            go_on.set()
            thread.join(SECONDS)
        assert list(session.tracker.gate_history) == []


def test_a_child_leaves_its_parents_temporary_folders_alone(tmp_path: Path) -> None:
    class Owner:
        pass

    folder = tmp_path / "parents"
    folder.mkdir()
    owner = Owner()
    remove_with(owner, folder)
    history = GateHistory()
    history._folder = spilled = tmp_path / "spilled"
    spilled.mkdir()

    def work() -> bool:
        nonlocal owner
        del owner
        history.clear()
        return True

    assert in_child(work)
    assert folder.is_dir() and spilled.is_dir()
    del owner
    assert not folder.exists()


def test_on_cuda_a_child_is_told_to_open_its_own(model: Path) -> None:
    with GateSession(model, device="cpu") as session:
        backend: Any = session._backend
        batch = tiny_batch(session.manifest, (5,), (2,))
        backend._cuda = cast(Any, backend._session)  # as if it ran there

        def work() -> bool:
            with pytest.raises(DeviceError, match="before this process was forked"):
                session.run(batch)
            return True

        assert in_child(work)


def test_torch_on_cuda_is_told_the_same(tmp_path: Path) -> None:
    from gatescope.runtime.session.backends.torchscript import TorchScriptBackend
    from gatescope.runtime.session.model_file import read_model_file

    tiny_torch(tmp_path / "model", "torchscript")
    backend = TorchScriptBackend(read_model_file(tmp_path / "model"), DeviceOptions("cpu"))
    backend.device = "cuda"
    backend.after_fork()
    with pytest.raises(DeviceError, match="before this process was forked"):
        backend.run((), {})
