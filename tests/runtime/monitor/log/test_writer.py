"""The writer: what it acknowledges is there, and no fault of the disk ever reaches its caller."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatescope.runtime.errors import GateLogError
from gatescope.runtime.monitor.log import writer as writing
from gatescope.runtime.monitor.log.folder import in_use
from gatescope.runtime.monitor.log.recovery import recover
from gatescope.runtime.monitor.model import WatchedModel

from ....waiting import until
from ...tiny_model import tiny_manifest
from .logs import assert_same, logged, read, segments_of, videos_of, writer_of, written_log


def test_importing_the_writer_is_cheap() -> None:
    code = (
        "import sys, gatescope.runtime.monitor.log.writer; "
        "sys.exit(bool({'polars', 'torch', 'onnxruntime', 'matplotlib', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_counts_what_is_acknowledged_and_what_is_durable(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    assert writer.append(videos_of(5)) == 5
    assert (writer.acknowledged, writer.durable, writer.lost) == (5, 0, 0)
    writer.sync()
    assert writer.durable == 5
    [segment] = segments_of(tmp_path)
    assert writer.bytes_written == segment.stat().st_size and writer.segment == segment.stem
    assert in_use(segment)
    writer.close()
    assert not in_use(segment) and writer.segment == ""
    assert writer.append(videos_of(2)) == 0 and writer.lost == 2


def test_one_write_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = writer_of(tmp_path)
    calls: list[int] = []
    write = os.write

    def counting(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        return write(descriptor, data)

    monkeypatch.setattr(writing.os, "write", counting)
    writer.append(videos_of(30))
    assert len(calls) == 1
    writer.close()


def test_tick_syncs_at_the_interval_and_rotates_by_size(tmp_path: Path) -> None:
    videos = videos_of(60)
    written_log(tmp_path, videos, segment_bytes=12_000, sync_seconds=0.0)
    segments = segments_of(tmp_path)
    assert len(segments) > 3
    numbers = [int(path.stem.rpartition("-")[2]) for path in segments]
    assert numbers == list(range(len(segments)))
    states = [read(path)[1] for path in segments]
    following = [state.end.next for state in states if state.end is not None]
    assert following == [*numbers[1:], -1]
    assert_same(logged(tmp_path), videos)


def test_rotation_by_age_goes_by_a_clock_that_does_not_jump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = writer_of(tmp_path, segment_seconds=100.0)
    writer.append(videos_of(1))
    monkeypatch.setattr(writing.time, "time_ns", lambda: 4 * 10**18)
    writer.tick()
    assert len(segments_of(tmp_path)) == 1
    later = time.monotonic() + 101
    monkeypatch.setattr(writing.time, "monotonic", lambda: later)
    writer.tick()
    assert len(segments_of(tmp_path)) == 2
    writer.close()


@pytest.fixture(params=["nothing", "part"])
def full_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bool]]:
    """A disk that is full while ``full["now"]``: it takes nothing, or a part of what is written."""
    full = {"now": False}
    write = os.write
    rng = random.Random(3)

    def limited(descriptor: int, data: bytes) -> int:
        if not full["now"]:
            return write(descriptor, data)
        if request.param == "part":
            return write(descriptor, data[: rng.randrange(1, len(data))])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing.os, "write", limited)
    monkeypatch.setattr(writing, "FIRST_WRITING_PAUSE", 0.0)
    yield full


def test_a_full_disk_loses_counts_and_goes_on(tmp_path: Path, full_disk: dict[str, bool]) -> None:
    videos = videos_of(60)
    kept = []
    writer = writer_of(tmp_path)
    writer._pause = 0.0  # pyright: ignore[reportPrivateUsage]
    for start in range(0, 60, 3):
        full_disk["now"] = 20 <= start < 40
        count = writer.append(videos[start : start + 3])
        kept += videos[start : start + count]
        writer.tick()
    writer.close()
    assert writer.lost == 60 - len(kept) > 0
    assert writer.acknowledged == writer.durable == len(kept)
    assert writer.errors > 0 and "No space" in writer.last_error
    assert_same(logged(tmp_path), kept)
    found = recover(tmp_path)
    assert found.exit_code == 0
    assert sum(segment.reported_lost for segment in found.segments) == writer.lost
    assert f"could not write {writer.lost} videos" in found.text()


def test_waits_longer_after_each_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = writer_of(tmp_path)
    now = [1000.0]
    monkeypatch.setattr(writing.time, "monotonic", lambda: now[0])
    tries: list[float] = []

    def failing(descriptor: int, data: bytes) -> int:
        tries.append(now[0] - 1000)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(writing.os, "write", failing)
    for _ in range(200):
        writer.append(videos_of(1))
        now[0] += 0.5
    assert tries == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0]
    assert writer.lost == 200
    monkeypatch.undo()
    writer.close()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_is_really_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(300_000))
        monkeypatch.setattr(writing, "FIRST_WRITING_PAUSE", 0.01)
        videos = videos_of(900)
        kept = []
        with writer_of(disk / "log", segment_bytes=40_000) as writer:
            for number, video in enumerate(videos):
                if number == 600:
                    assert writer.lost > 0
                    ballast.unlink()
                    writer._not_before = 0.0  # pyright: ignore[reportPrivateUsage]
                if writer.append([video]):
                    kept.append(video)
                writer.tick()
        assert writer.acknowledged == len(kept) and writer.lost == 900 - len(kept)
        assert any(video.sample_id == "video 899" for video in kept) or writer.lost
        assert_same(logged(disk / "log"), kept)
        found = recover(disk / "log")
        assert found.exit_code == 0, found.text()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_a_failed_sync_is_final_for_its_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "FIRST_WRITING_PAUSE", 0.0)
    writer = writer_of(tmp_path)
    writer._pause = 0.0  # pyright: ignore[reportPrivateUsage]
    videos = videos_of(9)
    writer.append(videos[:3])
    writer.sync()
    writer.append(videos[3:6])
    sync = os.fsync
    first = writer.segment

    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(writing.os, "fsync", failing)
    writer.sync()
    monkeypatch.setattr(writing.os, "fsync", sync)
    assert (writer.durable, writer.at_risk, writer.segment) == (3, 3, "")
    writer.append(videos[6:])
    assert writer.segment not in ("", first)
    writer.close()
    assert (writer.acknowledged, writer.durable, writer.lost) == (9, 6, 0)
    assert_same(logged(tmp_path), videos)


def test_a_segment_that_is_removed_is_replaced(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    writer.append(videos_of(1))
    segments_of(tmp_path)[0].unlink()
    writer.tick()
    assert writer.errors == 1 and "removed" in writer.last_error and writer.at_risk == 1
    writer._not_before = 0.0  # pyright: ignore[reportPrivateUsage]
    assert writer.append(videos_of(2)) == 2
    writer.close()
    assert len(logged(tmp_path)) == 2


def test_a_forked_child_writes_a_segment_of_its_own(tmp_path: Path) -> None:
    """In a process of its own: Python warns of forks beside threads."""
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[4])!r})
from tests.runtime.monitor.log.logs import writer_of, videos_of
from pathlib import Path
writer = writer_of(Path({str(tmp_path)!r}))
writer.append(videos_of(2))
child = os.fork()
writer.append(videos_of(3 if child else 4, seed=1 if child else 2))
if not child:
    assert writer.acknowledged == 4
writer.close()
if not child:
    os._exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    counts = sorted(len(read(path)[0]) for path in segments_of(tmp_path))
    assert counts == [4, 5]
    assert all(read(path)[1].end is not None for path in segments_of(tmp_path))


def test_power_loss_takes_at_most_what_was_not_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file as it was at its last sync, then anything: zeros, noise, or a part of what came later."""
    synced = {}
    sync = os.fsync

    def noting(descriptor: int) -> None:
        sync(descriptor)
        synced["bytes"] = os.fstat(descriptor).st_size

    videos = videos_of(200)
    rng = random.Random(8)
    writer = writer_of(tmp_path, sync_seconds=1000.0)
    monkeypatch.setattr(writing.os, "fsync", noting)
    [segment] = segments_of(tmp_path)
    synced["bytes"] = segment.stat().st_size
    lost = tmp_path / "lost.gatelog"
    cases = 0
    for number, video in enumerate(videos, 1):
        writer.append([video])
        if number % 7 == 0:
            writer.sync()
        data = segment.read_bytes()
        rest = data[synced["bytes"] :]
        tails = [b"", bytes(len(rest)), rng.randbytes(len(rest)), rest[: rng.randrange(len(rest) + 1)]]
        tail = tails[number % 4]
        lost.write_bytes(data[: synced["bytes"]] + tail)
        found = [one.video for one in read(lost)[0]]
        assert len(found) >= writer.durable
        assert_same(found, videos[: len(found)])
        cases += bool(rest)
    assert (cases, writer.durable) == (172, 196)
    writer.close()


def test_power_loss_takes_at_most_the_last_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the writer's clock: whatever was acknowledged longer ago than the interval is durable."""
    interval, between = 1.0, 0.0625  # exact in binary, as their sums are
    now, acknowledged, risks = 1000.0, list[float](), list[float]()
    monkeypatch.setattr(writing.time, "monotonic", lambda: now)
    video = videos_of(1)
    with writer_of(tmp_path, sync_seconds=interval) as writer:
        for _ in range(100):
            now += between
            if writer.durable < len(acknowledged):
                risks.append(now - acknowledged[writer.durable])
            writer.append(video)
            acknowledged.append(now)
            writer.tick()
    assert interval / 2 < max(risks) <= interval


def test_another_model_is_refused_by_name(tmp_path: Path) -> None:
    written_log(tmp_path, videos_of(1))
    other = WatchedModel.of(tiny_manifest("clipwise", layers=2))
    with pytest.raises(GateLogError, match="another model") as raised:
        writer_of(tmp_path, other)
    assert "a folder of its own" in str(raised.value)


def test_the_same_model_joins(tmp_path: Path) -> None:
    with writer_of(tmp_path) as one, writer_of(tmp_path) as two:
        one.append(videos_of(2))
        two.append(videos_of(3))
        assert one.segment != two.segment
    assert len(logged(tmp_path)) == 5


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"format": "gatescope gate log", "format_version": 99}', "newer"),
        ('{"format": "something"}', "is not a gate log"),
        ("no JSON", "damaged"),
        ("[1]", "damaged"),
    ],
)
def test_a_folder_that_is_none_or_newer(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "log.json").write_text(text, encoding="utf-8")
    with pytest.raises(GateLogError, match=problem):
        writer_of(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(GateLogError, match="cannot be written"):
        writer_of(tmp_path / "file")
    with pytest.raises(GateLogError, match="cannot be written"):
        writer_of(tmp_path / "file" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(GateLogError, match="cannot be written"):
            writer_of(tmp_path / "log")
    finally:
        tmp_path.chmod(0o700)


def test_maintenance_is_started_after_a_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def spawn(path: str, command: list[str], environment: Any, **options: Any) -> int:
        assert path == sys.executable and options["setsid"]
        started.append(command)
        return 2**22 + 1  # no child of ours

    monkeypatch.setattr(writing.os, "posix_spawn", spawn)
    written_log(tmp_path, videos_of(20), segment_bytes=8_000, seal=True, keep_days=7.0)
    assert len(started) >= 2
    assert started[0][1:] == [
        *("-P", "-m", "gatescope.runtime.monitor.log.maintain", str(tmp_path)),
        *("--keep-bytes", str(20 * 2**30), "--keep-days", "7.0"),
    ]


def test_a_closed_service_leaves_a_sealed_log(tmp_path: Path) -> None:
    """With the process that really does it."""
    videos = videos_of(6, whole_every=2)
    written_log(tmp_path, videos, seal=True)
    until(lambda: not segments_of(tmp_path))
    assert [one.sample_id for one in logged(tmp_path)] == [one.sample_id for one in videos]


def test_losses_are_told_at_the_end_where_nothing_more_comes(
    tmp_path: Path, full_disk: dict[str, bool]
) -> None:
    writer = writer_of(tmp_path)
    writer.append(videos_of(2))
    full_disk["now"] = True
    assert writer.append(videos_of(3)) < 3
    full_disk["now"] = False
    writer.close()
    [segment] = segments_of(tmp_path)
    assert [loss.videos for loss in read(segment)[1].losses] == [writer.lost]


def test_a_killed_writer_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """The plain case, without chance: acknowledged, then SIGKILL."""
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[4])!r})
from tests.runtime.monitor.log.logs import writer_of, videos_of
from pathlib import Path
writer = writer_of(Path({str(tmp_path)!r}))
writer.append(videos_of(7))
os.kill(os.getpid(), {int(signal.SIGKILL)})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert_same(logged(tmp_path), videos_of(7))
    assert recover(tmp_path).segments[0].ended == "killed"
