"""Sealing: all of a segment in Parquet, or the segment as it was; and what retention takes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gatescope.runtime.errors import GateLogError
from gatescope.runtime.monitor.log import sealing
from gatescope.runtime.monitor.log.folder import open_folder
from gatescope.runtime.monitor.log.sealed import read_sealed
from gatescope.runtime.monitor.log.sealing import apply_retention, maintain, seal, seal_finished
from gatescope.runtime.runs.reader import open_run

from ....torture.traffic import named
from ....undrawn import undrawn
from .logs import MODEL, ROWS, assert_same, logged, segments_of, videos_of, writer_of, written_log


def test_a_sealed_segment_says_all_that_the_segment_said(tmp_path: Path) -> None:
    videos = videos_of(1100, whole_every=90)
    videos[90] = named(videos[90], "video 0")
    videos[180] = named(videos[180], "video 0#1")
    videos[270] = named(videos[270], "")
    videos[3] = replace(videos[3], sums=np.full_like(videos[3].sums, np.inf), time=-(10**18))
    written_log(tmp_path, videos)
    log = open_folder(tmp_path)
    assert seal_finished(log)[1] == {}
    [folder] = log.sealed_paths()
    assert not segments_of(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == [
        *("gates", "run.json", "samples.parquet", "segment.json", "videos.parquet")
    ]
    assert_same([one.video for one in read_sealed(folder, MODEL.layout, gates=True)], videos)
    table = pl.read_parquet(folder / "videos.parquet")
    assert len(table) == 1100 * ROWS
    run = open_run(folder)
    names = run.samples.collect()["sample_id"].to_list()
    assert names[:4] == ["video 0", "video 0#2", "video 0#1", "video"] and len(set(names)) == 13
    assert run.finished


@pytest.mark.slow
def test_a_run_of_whole_gates_can_be_analysed(tmp_path: Path) -> None:
    from gatescope.runtime.cli.main import main

    written_log(tmp_path / "log", videos_of(40, whole_every=1))
    log = open_folder(tmp_path / "log")
    seal_finished(log)
    with undrawn():
        assert main(["analyze", str(log.sealed_paths()[0]), "--output", str(tmp_path / "analysis")]) == 0


def test_gates_that_are_no_numbers_are_counted_and_not_kept_whole(tmp_path: Path) -> None:
    videos = videos_of(3, whole_every=1)
    gates = {kind: array.copy() for kind, array in (videos[1].gates or {}).items()}
    gates["ffn"][0, 2] = np.nan
    videos[1] = replace(videos[1], gates=gates)
    written_log(tmp_path, videos)
    assert seal_finished(open_folder(tmp_path))[1] == {}
    [folder] = open_folder(tmp_path).sealed_paths()
    found = [one.video for one in read_sealed(folder, MODEL.layout, gates=True)]
    assert_same(found, [videos[0], replace(videos[1], gates=None), videos[2]])


def test_an_open_segment_is_left_alone(tmp_path: Path) -> None:
    writer = writer_of(tmp_path)
    writer.append(videos_of(2))
    log = open_folder(tmp_path)
    [segment] = segments_of(tmp_path)
    with pytest.raises(GateLogError, match="is being written"):
        seal(log, segment)
    assert seal_finished(log) == ([], {})
    assert apply_retention(log, 0, 0.0, time.time()) == []
    writer.close()
    assert seal_finished(log) == ([segment.stem], {})


def test_a_damaged_segment_stays_as_it_is(tmp_path: Path) -> None:
    [segment] = written_log(tmp_path, videos_of(4))
    data = bytearray(segment.read_bytes())
    data[-1500] ^= 1
    segment.write_bytes(data)
    log = open_folder(tmp_path)
    done, left = seal_finished(log)
    assert done == [] and "damaged" in left[segment.stem]
    assert segment.read_bytes() == data and log.sealed_paths() == []


def test_what_was_not_written_as_it_was_read_is_not_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [segment] = written_log(tmp_path, videos_of(4))
    write = sealing.write_sealed

    def forgetful(folder: Path, log: object, videos: object) -> int:
        return write(folder, log, list(videos)[:-1])  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(sealing, "write_sealed", forgetful)
    log = open_folder(tmp_path)
    done, left = seal_finished(log)
    assert done == [] and "does not hold" in left[segment.stem]
    assert segments_of(tmp_path) == [segment] and list(log.sealed.iterdir()) == []


def test_sealing_that_was_cut_off_begins_again(tmp_path: Path) -> None:
    videos = videos_of(4)
    [segment] = written_log(tmp_path, videos)
    log = open_folder(tmp_path)
    half = log.sealed / f".sealing-{segment.stem}"
    half.mkdir()
    (half / "videos.parquet").write_bytes(b"half")
    assert_same(logged(tmp_path), videos)
    assert seal_finished(log) == ([segment.stem], {})
    assert_same(logged(tmp_path), videos)
    assert not half.exists()


def test_retention_takes_the_oldest_first(tmp_path: Path) -> None:
    log = None
    names: list[str] = []
    for number in range(5):
        [segment] = written_log(tmp_path, videos_of(20, seed=number))
        log = open_folder(tmp_path)
        names += [segment.stem]
        if number < 3:
            seal_finished(log)
            path = log.sealed / segment.stem
        else:
            path = segment.rename(tmp_path / segment.name)
        os.utime(path, (1000.0 * (number + 1), 1000.0 * (number + 1)))
    assert log is not None
    for path in tmp_path.glob("*.gatelog"):
        path.rename(log.segments / path.name)
    sizes = {
        path.stem: sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        if path.is_dir()
        else path.stat().st_size
        for path in [*log.sealed_paths(), *log.segment_paths()]
    }
    keep = sizes[names[3]] + sizes[names[4]]
    assert apply_retention(log, keep + 10, 1e9, time.time()) == names[:3]
    assert apply_retention(log, 10**9, 1.0, time.time()) == names[3:]


def test_maintenance_by_hand(tmp_path: Path) -> None:
    written_log(tmp_path, videos_of(4))
    command = [sys.executable, "-m", "gatescope.runtime.monitor.log.maintain", str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == 0
    assert len(open_folder(tmp_path).sealed_paths()) == 1
    command[-1] = str(tmp_path / "nothing")
    failed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (
        failed.returncode == 1 and "is not a gate log" in failed.stderr and "Traceback" not in failed.stderr
    )


def test_one_maintenance_at_a_time(tmp_path: Path) -> None:
    from filelock import FileLock

    written_log(tmp_path, videos_of(2))
    with FileLock(tmp_path / ".maintenance.lock"):
        assert maintain(open_folder(tmp_path), 10**9, 30.0) is None
    found = maintain(open_folder(tmp_path), 10**9, 30.0)
    assert found is not None and len(found.sealed) == 1
