"""What recovery saves, and whether it says truly what is lost."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import polars as pl
import pytest

from gatescope.runtime.errors import UsageError
from gatescope.runtime.monitor.log import writer as writing
from gatescope.runtime.monitor.log.folder import open_folder
from gatescope.runtime.monitor.log.recovery import recover
from gatescope.runtime.monitor.log.sealed import videos_of_table
from gatescope.runtime.monitor.log.sealing import seal_finished
from gatescope.runtime.runs.reader import open_run

from ....torture.traffic import same
from .logs import MODEL, ROWS, read, segments_of, videos_of, writer_of, written_log


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_whole_log_is_complete(tmp_path: Path) -> None:
    written_log(tmp_path, videos_of(50), segment_bytes=12_000)
    before = _snapshot(tmp_path)
    found = recover(tmp_path)
    assert (found.exit_code, found.videos, found.complete) == (0, 50, True)
    assert {segment.ended for segment in found.segments} == {"closed"}
    assert "complete; 50 videos" in found.text() and "LOST" not in found.text()
    assert json.loads(json.dumps(found.to_dict()))["videos"] == 50
    assert _snapshot(tmp_path) == before


def test_a_torn_end_is_complete_with_a_remark(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    writer.append(videos_of(5))
    [segment] = segments_of(tmp_path)
    assert recover(tmp_path).segments[0].ended == "running"
    data = segment.read_bytes()
    writer.close()
    segment.write_bytes(data[:-30])
    found = recover(tmp_path)
    assert found.exit_code == 0 and found.segments[0].ended == "killed" and found.videos == 4
    assert "never acknowledged" in found.text()


def test_damage_is_told_by_bytes_and_videos(tmp_path: Path) -> None:
    videos = videos_of(30)
    [segment] = written_log(tmp_path, videos)
    starts = [one.offset for one in read(segment)[0]]
    data = bytearray(segment.read_bytes())
    data[starts[10] + 30 : starts[13] + 30] = bytes(starts[13] - starts[10])
    segment.write_bytes(data)
    found = recover(tmp_path)
    assert found.exit_code == 3 and found.videos == 26
    assert found.segments[0].lost_videos == 4
    assert found.segments[0].damaged_bytes == starts[14] - starts[10]
    assert "about 4 videos" in found.text()


def test_a_killed_segment_with_damage_has_an_estimate(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    writer.append(videos_of(30))
    [segment] = segments_of(tmp_path)
    starts = [one.offset for one in read(segment)[0]]
    data = bytearray(segment.read_bytes())
    writer.close()
    data[starts[10] + 30 : starts[20] - 30] = bytes(starts[20] - starts[10] - 60)
    segment.write_bytes(data)
    found = recover(tmp_path)
    assert found.exit_code == 3 and found.videos == 20
    assert 8 <= found.segments[0].lost_videos <= 12


def test_a_missing_segment_is_named(tmp_path: Path) -> None:
    segments = written_log(tmp_path, videos_of(60), segment_bytes=9_000)
    assert len(segments) > 4
    segments[2].unlink()
    found = recover(tmp_path)
    assert found.exit_code == 3 and found.missing == (segments[2].stem,)
    assert segments[2].stem in found.text()


def test_the_first_segments_may_be_gone_by_age_and_the_last_is_noted(tmp_path: Path) -> None:
    segments = written_log(tmp_path, videos_of(60), segment_bytes=9_000)
    segments[0].unlink()
    segments[-1].unlink()
    found = recover(tmp_path)
    assert found.exit_code == 0
    assert len(found.notes) == 1 and segments[-1].stem in found.notes[0]


def test_nothing_to_read(tmp_path: Path) -> None:
    [segment] = written_log(tmp_path, videos_of(2))
    segment.write_bytes(bytes(500))
    found = recover(tmp_path)
    assert found.exit_code == 1 and "nothing could be read" in found.text()


def test_cut_off_within_the_header_is_not_complete(tmp_path: Path) -> None:
    [segment] = written_log(tmp_path, videos_of(2))
    segment.write_bytes(segment.read_bytes()[:100])
    assert recover(tmp_path).exit_code == 1


def test_the_model_is_known_from_a_segment_where_log_json_is_lost(tmp_path: Path) -> None:
    written_log(tmp_path, videos_of(5))
    (tmp_path / "log.json").unlink()
    found = recover(tmp_path)
    assert (found.exit_code, found.videos) == (0, 5)
    assert "taken from the header" in found.notes[0]


def test_saves_sealed_and_open_segments_with_their_gates(tmp_path: Path) -> None:
    log, output = tmp_path / "log", tmp_path / "saved"
    videos = videos_of(40, whole_every=4)
    written_log(log, videos[:20])
    seal_finished(open_folder(log))
    written_log(log, videos[20:])
    before = _snapshot(log)
    found = recover(log, output)
    assert found.exit_code == 0 and len(found.written) == 2
    assert _snapshot(log) == before
    table = pl.read_parquet(output / "videos.parquet")
    back = {one.sample_id: one for one in videos_of_table(MODEL.layout, table)}
    assert len(table) == 40 * ROWS and len(back) == 40
    run = open_run(output)
    assert run.finished and len(run.samples.collect()) == 10
    for video in videos:
        one = back[video.sample_id]
        assert (one.integers == video.integers).all() and (one.sums == video.sums).all()
        for kind, array in (video.gates or {}).items():
            assert (run.tensor(video.sample_id, kind) == array).all()
    with pytest.raises(UsageError, match="is not empty"):
        recover(log, output)
    assert not list(tmp_path.glob(".saved*"))


def test_sealed_gates_that_are_damaged_leave_their_counts(tmp_path: Path) -> None:
    videos = videos_of(20, whole_every=4)
    written_log(tmp_path, videos)
    log = open_folder(tmp_path)
    seal_finished(log)
    [folder] = log.sealed_paths()
    (folder / "gates" / "part-00000.parquet").write_bytes(b"gone")
    found = recover(tmp_path)
    assert (found.exit_code, found.videos) == (3, 20)
    assert "LOST" in found.text()
    (folder / "videos.parquet").write_bytes(b"gone too")
    found = recover(tmp_path)
    assert (found.exit_code, found.videos) == (1, 0)
    assert found.segments[0].lost_videos == 20


def test_a_sealed_segment_without_its_facts_is_partial(tmp_path: Path) -> None:
    written_log(tmp_path, videos_of(6))
    log = open_folder(tmp_path)
    seal_finished(log)
    (log.sealed_paths()[0] / "segment.json").unlink()
    found = recover(tmp_path)
    assert (found.exit_code, found.videos) == (3, 6)


def test_losses_are_known_after_sealing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = writer_of(tmp_path)

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(writing.os, "write", full)
        writer.append(videos_of(3))
    writer.close()
    seal_finished(open_folder(tmp_path))
    found = recover(tmp_path)
    assert found.segments[0].reported_lost == 3 and found.segments[0].ended == "sealed"
    assert segments_of(tmp_path) == []


def test_same_is_strict() -> None:
    """The comparison these tests rest on."""
    one, other = videos_of(2)
    assert same(one, one) and not same(one, other)
