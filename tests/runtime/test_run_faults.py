"""Whatever ends a stage of a run ends the run with that cause, soon, and leaves it to be resumed.

Every test is guarded by a timer: a run that hangs fails.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.runtime import open_run
from gatescope.runtime.data import check
from gatescope.runtime.data.crew import Crew
from gatescope.runtime.data.features import read_audio
from gatescope.runtime.errors import DatasetError, DeviceError, ModelFileError, RunFolderError
from gatescope.runtime.running import loop, pipeline, settings
from gatescope.runtime.running.ahead import ReadAhead
from gatescope.runtime.running.behind import WriteBehind
from gatescope.runtime.running.loader import SampleLoader
from gatescope.runtime.runs import writer
from gatescope.runtime.runs.writer import RunWriter
from gatescope.runtime.session.session import GateSession

from ..waiting import PATIENCE, until
from .test_resume import content
from .tiny_case import TinyCase
from .tiny_dataset import tiny_dataset
from .tiny_model import tiny_manifest

QUERIES = 24
PARTS = 12  # of two samples, one batch each


class HangError(Exception):
    pass


@pytest.fixture(autouse=True)
def guard() -> Iterator[None]:
    def hangs(number: int, frame: object) -> None:
        raise HangError(str({thread.name: thread.is_alive() for thread in threading.enumerate()}))

    before = signal.signal(signal.SIGALRM, hangs)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    assert not [thread for thread in threading.enumerate() if thread.name == "gatescope"]


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyCase:
    monkeypatch.setattr(writer, "MOST_SAMPLES_PER_PART", 2)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    made = TinyCase(tmp_path)
    made.data = tiny_dataset(tmp_path / "more", made.manifest, QUERIES, videos=QUERIES)
    return made


def resumes(case: TinyCase) -> None:
    """The run that failed goes on, to the same files as an undisturbed one."""
    assert not open_run(case.output).finished
    case.run(resume=True)
    case.run(output=case.folder / "undisturbed")
    assert content(case.output) == content(case.folder / "undisturbed")


Stage = tuple[type, str]
STAGES: dict[str, Stage] = {
    "reading": (SampleLoader, "load"),
    "computing": (GateSession, "run"),
    "writing": (RunWriter, "write_part"),
}


def fail(
    patch: pytest.MonkeyPatch, stage: Stage, error: BaseException, *, at: int, pause: float = 0.0
) -> None:
    """Call number ``at`` (from 0) of a stage raises ``error``; every one takes ``pause`` seconds more."""
    owner, name = stage
    real: Callable[..., Any] = getattr(owner, name)
    count = iter(range(10**6))

    def failing(*args: Any, **options: Any) -> Any:
        time.sleep(pause)
        if next(count) == at:
            raise error
        return real(*args, **options)

    patch.setattr(owner, name, failing)


def slow(patch: pytest.MonkeyPatch, stage: Stage, pause: float = 0.01) -> None:
    fail(patch, stage, AssertionError("never"), at=-1, pause=pause)


class KilledError(BaseException):
    """Nothing that the code would catch by its class."""


CAUSES = [RuntimeError("odd"), MemoryError(), SystemExit(3), KilledError()]


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: type(cause).__name__)
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_dies_ends_the_run_with_its_cause(
    case: TinyCase, stage: str, cause: BaseException
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(type(cause)) as caught:
        fail(patch, STAGES[stage], cause, at=6)
        case.run()
    assert caught.value is cause
    resumes(case)


@pytest.mark.parametrize("limit", STAGES)
@pytest.mark.parametrize("stage", STAGES)
def test_also_where_another_stage_is_slow_and_the_queues_are_full(
    case: TinyCase, stage: str, limit: str
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="odd"):
        if limit != stage:
            slow(patch, STAGES[limit])
        fail(patch, STAGES[stage], RuntimeError("odd"), at=9, pause=0.01 if limit == stage else 0)
        case.run()
    resumes(case)


@pytest.mark.parametrize("stage", ["reading", "computing"])
def test_what_comes_before_a_failure_is_written(
    case: TinyCase, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if one sample came after the other: the batch that fails is the seventh."""
    monkeypatch.setattr(loop, "CALLS_AT_ONCE", 1)
    monkeypatch.setattr(loop, "reading_threads", lambda: 1)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError):
        fail(patch, STAGES[stage], RuntimeError("odd"), at=6 if stage == "computing" else 12)
        slow(patch, STAGES["writing"])
        case.run()
    assert open_run(case.output).parts == 6
    resumes(case)


def test_a_thread_that_cannot_be_started_ends_the_run(case: TinyCase) -> None:
    start, count = threading.Thread.start, iter(range(100))

    def refused(thread: threading.Thread) -> None:
        if next(count) == 6:  # the check has its threads; reading has begun
            raise RuntimeError("can't start new thread")
        start(thread)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="new thread"):
        patch.setattr(check, "reading_threads", lambda: 2)
        patch.setattr(loop, "reading_threads", lambda: 2)
        patch.setattr(threading.Thread, "start", refused)
        case.run()
    resumes(case)


# Interruptions.


@pytest.mark.parametrize("stage", STAGES)
def test_an_interruption_ends_the_run_promptly(case: TinyCase, stage: str) -> None:
    """While one stage takes its time, and the others wait for it."""
    begun, crews = threading.Event(), list[Crew]()
    owner, name = STAGES[stage]
    real: Callable[..., Any] = getattr(owner, name)

    def long(*args: Any, **options: Any) -> Any:
        if not begun.is_set():
            begun.set()
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)
            until(lambda: crews[-1].stopping)
        time.sleep(0.02)
        return real(*args, **options)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, name, long)
        patch.setattr(Crew, "__enter__", lambda crew: crews.append(crew) or crew)
        case.run()
    # What was under way was finished, and not much more.
    assert open_run(case.output).parts < PARTS / 2 + 2
    resumes(case)


def test_an_interruption_while_features_are_checked_writes_nothing(
    case: TinyCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, begun = check.read_audio, threading.Event()

    def interrupted(*args: Any, **options: Any) -> Any:
        if not begun.is_set():
            begun.set()
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.02)
        return read(*args, **options)

    monkeypatch.setattr(check, "read_audio", interrupted)
    with pytest.raises(KeyboardInterrupt):
        case.run()
    assert not case.output.exists()


def test_a_check_that_dies_ends_with_its_cause(case: TinyCase, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*args: Any, **options: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(check, "read_audio", dies)
    with pytest.raises(MemoryError):
        case.run()
    assert not case.output.exists()


def test_a_model_that_cannot_be_opened_ends_the_check_at_once(
    case: TinyCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, crews = list[object](), list[Crew]()

    def reading(*args: Any, **options: Any) -> Any:
        read.append(args)
        until(lambda: crews[-1].stopping)
        return read_audio(*args, **options)

    def refused(*args: Any, **options: Any) -> Any:
        raise DeviceError("CUDA was asked for and cannot be used")

    monkeypatch.setattr(check, "read_audio", reading)
    monkeypatch.setattr(settings, "GateSession", refused)
    monkeypatch.setattr(Crew, "__enter__", lambda crew: crews.append(crew) or crew)
    with pytest.raises(DeviceError):
        case.run()
    assert len(read) < QUERIES / 2
    assert not case.output.exists()


def test_a_model_that_is_replaced_while_it_is_opened_is_refused(
    case: TinyCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "read_manifest", lambda _: tiny_manifest(layers=3))
    with pytest.raises(ModelFileError, match="written to while it was opened"):
        case.run()
    assert not case.output.exists()


def test_a_reader_that_never_comes_back_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drive that has gone away must not keep the run from ending."""
    monkeypatch.setattr("gatescope.runtime.data.crew.STOP_PATIENCE_SECONDS", 0.05)
    gone = threading.Event()
    with pytest.raises(KeyboardInterrupt), Crew() as crew:
        crew.start(abandonable=[gone.wait])
        raise KeyboardInterrupt
    gone.set()
    for thread in threading.enumerate():
        if thread.name == "gatescope":
            thread.join()


# Features that change on the way.


def rewritten(path: Path) -> None:
    """Other numbers of the same shape."""
    before = path.stat().st_mtime_ns
    np.savez(path, features=np.ones(np.load(path)["features"].shape, np.float32))
    os.utime(path, ns=(before + 10_000_000, before + 10_000_000))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def other_clips(path: Path) -> None:
    np.savez(path, features=np.ones((2, 3), np.float32))


def spoiled_unseen(path: Path) -> None:
    """Size and time as before: nothing but the numbers themselves can tell."""
    before = path.stat()
    features = np.load(path)["features"]
    features[0, 0] = np.nan
    np.savez(path, features=features)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "rewritten": (rewritten, "changed while the run was going on"),
    "deleted": (Path.unlink, "no file"),
    "emptied": (emptied, "is empty"),
    "cut short": (cut_short, "truncated or damaged"),
    "other clips": (other_clips, "changed while the run was going on"),
    "spoiled unseen": (spoiled_unseen, "holds NaN or Inf"),
    "a folder": (a_folder, "not an ordinary file"),
}


@pytest.mark.parametrize("change, told", CHANGES.values(), ids=CHANGES.keys())
def test_features_that_change_meanwhile_end_the_run_by_name(
    case: TinyCase, change: Callable[[Path], None], told: str
) -> None:
    vid = str(case.data.rows[-1]["vid"])
    path = case.data.video(0, vid)
    good, status = path.read_bytes(), path.stat()
    run, count = GateSession.run, iter(range(100))

    def changing(session: GateSession, batch: Any) -> Any:
        if next(count) == 0:  # the last batch is not read yet: only a few are in memory
            change(path)
        return run(session, batch)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(DatasetError, match=told) as caught:
        patch.setattr(GateSession, "run", changing)
        case.run()
    assert vid in str(caught.value) and "--resume" in str(caught.value)
    assert open_run(case.output).parts < PARTS
    if path.is_dir():
        path.rmdir()
    path.write_bytes(good)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    resumes(case)


def test_text_that_changes_meanwhile_ends_the_run_by_name(case: TinyCase) -> None:
    qid = case.data.qids[-1]
    run, count = GateSession.run, iter(range(100))

    def changing(session: GateSession, batch: Any) -> Any:
        if next(count) == 0:
            case.data.text(qid).write_bytes(case.data.text(case.data.qids[1]).read_bytes())
        return run(session, batch)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(DatasetError, match="changed while") as caught:
        patch.setattr(GateSession, "run", changing)
        case.run()
    assert f"query {qid}" in str(caught.value)
    resumes(case)


# A full disk, met by the thread that writes while others read and compute.


@pytest.mark.parametrize("name", ["append_durably", "write_atomically"])
@pytest.mark.parametrize("at", [0, 5, PARTS - 1])
def test_a_full_disk_is_told_and_the_run_goes_on_later(
    case: TinyCase, name: str, at: int, capsys: pytest.CaptureFixture[str]
) -> None:
    real: Callable[..., Any] = getattr(writer, name)
    calls = 0

    def full(path: Path, written: bytes) -> None:
        nonlocal calls
        if path.suffix == ".jsonl" or path.parent.name == "gates":
            calls += 1
            if calls > at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(path, written)

    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(RunFolderError, match="No space left") as caught,
    ):
        patch.setattr(writer, name, full)
        case.run()
    assert "--resume" in str(caught.value)
    assert open_run(case.output).parts == at
    assert not list(case.output.rglob("*.partial"))
    resumes(case)


# What may be in memory at once.


def test_memory_holds_few_batches_and_parts_whoever_is_slow(case: TinyCase) -> None:
    for limit in STAGES.values():
        batches: list[int] = []
        parts: list[int] = []
        with pytest.MonkeyPatch.context() as patch:
            slow(patch, limit, 0.003)
            lay_out, add = ReadAhead._lay_out_next, WriteBehind.add

            def laid(ahead: ReadAhead, lay_out: Any = lay_out, seen: list[int] = batches) -> None:
                lay_out(ahead)
                seen.append(ahead._open)

            def added(behind: WriteBehind, computed: Any, add: Any = add, seen: list[int] = parts) -> None:
                add(behind, computed)
                seen.append(len(behind._parts))

            patch.setattr(ReadAhead, "_lay_out_next", laid)
            patch.setattr(WriteBehind, "add", added)
            case.run(output=case.folder / limit[1])
        assert max(batches) <= 4
        assert max(parts) <= 3
