"""Reading whole logs, and following them while they are written, sealed and removed."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from gatescope.runtime.errors import GateLogError
from gatescope.runtime.monitor.log import reader as reading
from gatescope.runtime.monitor.log.folder import LogFolder, open_folder
from gatescope.runtime.monitor.log.follower import LogFollower
from gatescope.runtime.monitor.log.reader import read_log
from gatescope.runtime.monitor.log.sealing import seal, seal_finished

from ....torture.traffic import named
from .logs import assert_same, logged, segments_of, videos_of, writer_of, written_log


def _names(follower: LogFollower) -> list[str]:
    return [one.video.sample_id for one in follower.poll()]


def test_processes_are_merged_by_time(tmp_path: Path) -> None:
    videos = videos_of(60)
    writers = [writer_of(tmp_path) for _ in range(3)]
    rng = random.Random(0)
    for video in videos:
        rng.choice(writers).append([video])
    for writer in writers:
        writer.close()
    assert_same(logged(tmp_path), videos)


def test_each_segment_keeps_its_order_when_its_clock_jumps(tmp_path: Path) -> None:
    videos = videos_of(6)
    jumping = [replace(video, time=time) for video, time in zip(videos, (9, 3, 5, 11, 1, 12), strict=True)]
    written_log(tmp_path, jumping)
    written_log(tmp_path, [named(replace(videos[0], time=time), f"other {time}") for time in (4, 10)])
    names = [video.sample_id for video in logged(tmp_path)]
    assert [name for name in names if name.startswith("video")] == [one.sample_id for one in jumping]
    assert [name for name in names if name.startswith("other")] == ["other 4", "other 10"]
    assert len(names) == 8


def test_sealed_and_still_there_counts_once(tmp_path: Path) -> None:
    videos = videos_of(12)
    written_log(tmp_path, videos[:6])
    [segment] = segments_of(tmp_path)
    copy = segment.read_bytes()
    seal(open_folder(tmp_path), segment)
    segment.write_bytes(copy)  # as if the machine had stopped before the removal
    written_log(tmp_path, videos[6:])
    assert_same(logged(tmp_path), videos)
    seal_finished(open_folder(tmp_path))
    assert not segments_of(tmp_path)
    assert_same(logged(tmp_path), videos)


def test_segments_sealed_while_the_log_is_read(tmp_path: Path) -> None:
    videos = videos_of(90)
    written_log(tmp_path, videos, segment_bytes=12_000)
    assert len(segments_of(tmp_path)) > 4
    found = []
    for one in read_log(tmp_path):
        found.append(one.video)
        if len(found) == 10:
            seal_finished(open_folder(tmp_path))
    assert_same(found, videos)


def test_a_segment_sealed_between_two_looks_at_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = videos_of(5)
    written_log(tmp_path, videos)
    listed = LogFolder.sealed_paths
    calls: list[int] = []

    def sealing(log: LogFolder) -> list[Path]:
        if not calls:
            calls.append(1)
            seal_finished(log)
        return listed(log)

    monkeypatch.setattr(reading.LogFolder, "sealed_paths", sealing)
    assert_same(logged(tmp_path), videos)


def test_a_newer_segment_is_refused_when_read_and_skipped_when_followed(tmp_path: Path) -> None:
    written_log(tmp_path, videos_of(2))
    [newer] = segments_of(tmp_path)
    data = bytearray(newer.read_bytes())
    for copy in range(3):
        struct.pack_into("<H", data, 16 * copy + 4, 2)
    newer.write_bytes(data)
    written_log(tmp_path, videos_of(3))
    with pytest.raises(GateLogError, match="newer gatescope"):
        logged(tmp_path)
    follower = LogFollower(open_folder(tmp_path), start="beginning")
    assert len(follower.poll()) == 3
    assert list(follower.problems) == [newer.stem] and "newer" in follower.problems[newer.stem]
    assert follower.poll() == []
    follower.close()


def test_follows_what_is_appended(tmp_path: Path) -> None:
    videos = videos_of(30)
    one = writer_of(tmp_path)
    one.append(videos[:3])
    late = LogFollower(open_folder(tmp_path))
    early = LogFollower(open_folder(tmp_path), start="beginning")
    assert _names(late) == []
    assert _names(early) == ["video 0", "video 1", "video 2"]
    one.append(videos[3:5])
    two = writer_of(tmp_path)
    two.append(videos[5:7])
    assert _names(late) == _names(early) == ["video 3", "video 4", "video 5", "video 6"]
    one.close()
    two.append(videos[7:8])
    assert _names(late) == ["video 7"]
    seal_finished(open_folder(tmp_path))
    two.append(videos[8:9])
    assert _names(late) == ["video 8"]
    assert _names(early) == ["video 7", "video 8"]
    # Written and sealed between two looks.
    written_log(tmp_path, videos[9:12])
    seal_finished(open_folder(tmp_path))
    assert _names(late) == _names(early) == ["video 9", "video 10", "video 11"]
    assert _names(late) == _names(early) == []
    two.close()
    late.close()
    early.close()


def test_follows_a_segment_to_its_end_after_it_was_removed(tmp_path: Path) -> None:
    videos = videos_of(5)
    writer = writer_of(tmp_path)
    writer.append(videos[:2])
    follower = LogFollower(open_folder(tmp_path), start="beginning")
    assert len(follower.poll()) == 2
    writer.append(videos[2:])
    segments_of(tmp_path)[0].unlink()
    assert _names(follower) == ["video 2", "video 3", "video 4"]
    follower.close()
    writer.close()


def test_a_torn_frame_is_read_when_it_is_whole(tmp_path: Path) -> None:
    videos = videos_of(4)
    written_log(tmp_path, videos)
    [segment] = segments_of(tmp_path)
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-1000])
    follower = LogFollower(open_folder(tmp_path), start="beginning")
    found = _names(follower)
    for size in range(len(whole) - 1000, len(whole) + 1, 37):
        with segment.open("r+b") as file:
            file.write(whole[:size])
        found += _names(follower)
    with segment.open("r+b") as file:
        file.write(whole)
    found += _names(follower)
    assert found == [one.sample_id for one in videos]
    assert follower.damaged == 0
    follower.close()


def test_follows_under_rotation_and_sealing_exactly_once(tmp_path: Path) -> None:
    videos = videos_of(150)
    writers = [writer_of(tmp_path, segment_bytes=9_000) for _ in range(2)]
    follower = LogFollower(open_folder(tmp_path), start="beginning")
    rng = random.Random(4)
    found: list[str] = []
    for number, video in enumerate(videos):
        writer = writers[number % 2]
        writer.append([video])
        writer.tick()
        if rng.random() < 0.1:
            seal_finished(open_folder(tmp_path))
        if rng.random() < 0.3:
            found += _names(follower)
    for writer in writers:
        writer.close()
    seal_finished(open_folder(tmp_path))
    found += _names(follower)
    assert sorted(found) == sorted(one.sample_id for one in videos)
    assert follower.problems == {} and follower.lost == 0
    follower.close()


def test_damage_is_stepped_over_when_more_follows(tmp_path: Path) -> None:
    videos = videos_of(4)
    writer = writer_of(tmp_path)
    writer.append(videos[:2])
    [segment] = segments_of(tmp_path)
    data = bytearray(segment.read_bytes())
    data[-5] ^= 1
    segment.write_bytes(data)
    follower = LogFollower(open_folder(tmp_path), start="beginning")
    assert _names(follower) == ["video 0"]
    writer.append(videos[2:])
    assert _names(follower) == ["video 2", "video 3"]
    assert follower.damaged > 0
    writer.close()
    follower.close()


def test_a_folder_that_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(GateLogError, match="is not a gate log"):
        logged(tmp_path)
