"""What a segment gives back: the same videos, whatever surrounds them."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gatescope.runtime.errors import GateLogError
from gatescope.runtime.monitor.log.frames import PREAMBLE_BYTES, VIDEO, pack
from gatescope.runtime.monitor.log.records import MOST_ID, decode_video, encode_video, short_id
from gatescope.runtime.monitor.log.segment import SegmentReader

from ....torture.traffic import same
from .logs import ROWS, assert_same, read, segments_of, videos_of, writer_of, written_log


def test_videos_come_back_to_the_last_bit(tmp_path: Path) -> None:
    videos = videos_of(20, whole_every=3)
    [segment] = written_log(tmp_path, videos)
    found, state = read(segment)
    assert_same([one.video for one in found], videos)
    assert state.whole and state.end is not None and state.end.videos == 20
    assert state.header is not None and segment.stem.startswith(state.header.process)


def test_counts_of_every_size_and_sums_that_are_no_numbers() -> None:
    video = videos_of(1)[0]
    for largest in (0, 1, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**62):
        integers = np.zeros_like(video.integers)
        integers[3, 70] = largest
        sums = np.full_like(video.sums, np.nan)
        sums[0] = (-0.0, np.inf, 5e-324, -np.inf)
        changed = replace(video, integers=integers, sums=sums)
        assert same(decode_video(encode_video(changed), ROWS), changed)


def test_a_video_without_whole_gates_takes_well_under_a_kilobyte() -> None:
    assert np.mean([len(encode_video(video)) for video in videos_of(100)]) < 900


@pytest.mark.parametrize("text", ["", "a", "x" * MOST_ID, "한" * 100, "line\nbreak\0zero"])
def test_ids_that_fit_are_kept(text: str) -> None:
    assert short_id(text) == text


def test_ids_of_ten_thousand_characters_stay_different_and_short() -> None:
    long = ["x" * 10_000, "x" * 10_000 + "y", "x" * 9_999 + "z"]
    assert len({short_id(text) for text in long}) == 3
    assert all(len(short_id(text)) <= MOST_ID for text in long)
    video = replace(videos_of(1)[0], sample_id=long[0])
    assert len(encode_video(video)) < 2_500
    assert decode_video(encode_video(video), ROWS).sample_id == short_id(long[0])


def test_an_id_that_is_no_text_is_kept_as_text() -> None:
    video = replace(videos_of(1)[0], sample_id="half \ud83d of a pair")
    assert decode_video(encode_video(video), ROWS).sample_id == "half \\ud83d of a pair"


def test_no_payload_poses_as_a_frame(tmp_path: Path) -> None:
    """Frames of this very segment, and of others, as the content of an id, behind damage."""
    first, second = videos_of(2)
    [segment] = written_log(tmp_path / "a", [first])
    data = segment.read_bytes()
    frames = data[PREAMBLE_BYTES:]
    offset = len(data)
    salt = data[8:16]
    fake = pack(salt, 0, VIDEO, encode_video(second)) + frames
    carrier = pack(salt, offset, VIDEO, b"\xff" + fake)
    broken = bytearray(data + carrier)
    broken[offset + 20] ^= 1
    segment.write_bytes(broken)
    found, state = read(segment)
    assert_same([one.video for one in found], [first])
    assert sum(skipped.end - skipped.start for skipped in state.skipped) == len(carrier)


def test_damage_in_the_middle_costs_what_it_hit_and_nothing_else(tmp_path: Path) -> None:
    videos = videos_of(40, whole_every=5)
    [segment] = written_log(tmp_path, videos)
    data = segment.read_bytes()
    offsets = [one.offset for one in read(segment)[0]] + [len(data)]
    rng = random.Random(1)
    for _ in range(150):
        start = rng.randrange(offsets[0], len(data))
        length = rng.choice((1, 7, 64, 3000))
        end = min(start + length, len(data))
        kind = rng.choice(("overwritten", "removed", "zeroed"))
        middle = {"overwritten": rng.randbytes(end - start), "removed": b"", "zeroed": bytes(end - start)}[
            kind
        ]
        segment.write_bytes(data[:start] + middle + data[end:])
        found, state = read(segment)
        names = [one.video.sample_id for one in found]
        before = [one for at, one in enumerate(videos) if offsets[at + 1] <= start]
        after = [one for at, one in enumerate(videos) if offsets[at] >= end]
        # Bytes that are gone move all that follows; a frame counts only where it was written.
        expected = before if kind == "removed" else before + after
        assert [name for name in names if name in {one.sample_id for one in expected}] == [
            one.sample_id for one in expected
        ], (kind, start, length)
        assert all(same(one.video, videos[int(one.video.sample_id.split()[1])]) for one in found)
        assert len(names) == len(set(names)) <= len(videos)
        if len(names) < len(videos):
            assert not state.whole or state.torn is not None


def test_a_damaged_header_costs_the_header_alone(tmp_path: Path) -> None:
    videos = videos_of(3)
    [segment] = written_log(tmp_path, videos)
    data = bytearray(segment.read_bytes())
    data[PREAMBLE_BYTES + 30] ^= 4
    data[3] ^= 1  # and a copy of the preamble
    segment.write_bytes(data)
    found, state = read(segment)
    assert_same([one.video for one in found], videos)
    assert state.header is None and not state.whole and len(state.skipped) == 1


def test_a_newer_version_is_refused_by_name(tmp_path: Path) -> None:
    [segment] = written_log(tmp_path, videos_of(1))
    data = bytearray(segment.read_bytes())
    for copy in range(3):
        struct.pack_into("<H", data, 16 * copy + 4, 2)
    segment.write_bytes(data)
    with pytest.raises(GateLogError, match=segment.name) as raised:
        SegmentReader(segment)
    assert "update gatescope" in str(raised.value)


def test_a_file_that_is_no_segment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.gatelog").write_text(
        "not a segment, but long enough to have been one, as files go", encoding="utf-8"
    )
    with pytest.raises(GateLogError, match="not a segment"):
        SegmentReader(tmp_path / "text.gatelog")


def test_clocks_that_jump_change_neither_order_nor_number(tmp_path: Path) -> None:
    times = [10**18, 5, 2**62, 0, -(10**15), 10**18 + 1]
    videos = [replace(video, time=time) for video, time in zip(videos_of(6), times, strict=True)]
    [segment] = written_log(tmp_path, videos)
    assert_same([one.video for one in read(segment)[0]], videos)


def test_a_frame_half_written_is_torn_and_no_damage(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    videos = videos_of(3)
    writer.append(videos)
    [segment] = segments_of(tmp_path)
    whole = segment.read_bytes()
    last = read(segment)[0][-1].offset
    segment.write_bytes(whole[: last + 40])
    found, state = read(segment)
    assert_same([one.video for one in found], videos[:2])
    assert state.whole and state.torn == last
    writer.close()
