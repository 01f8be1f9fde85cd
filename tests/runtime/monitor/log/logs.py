"""Logs of the tiny model, and the videos in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gatescope.runtime.monitor.counting.observed import ObservedVideo
from gatescope.runtime.monitor.log.reader import read_log
from gatescope.runtime.monitor.log.segment import LoggedVideo, SegmentState, read_segment
from gatescope.runtime.monitor.log.writer import GateLogWriter
from gatescope.runtime.monitor.model import WatchedModel
from gatescope.runtime.monitor.settings import LogSettings

from ....torture.traffic import same, traffic
from ...tiny_model import tiny_manifest

MANIFEST = tiny_manifest("clipwise", layers=4)
MODEL = WatchedModel.of(MANIFEST)
ROWS = len(MODEL.layout)


def writer_of(folder: Path, model: WatchedModel = MODEL, **settings: Any) -> GateLogWriter:
    """A writer that starts no other process."""
    return GateLogWriter(folder, MANIFEST, model, replace(LogSettings(seal=False), **settings))


def videos_of(count: int, whole_every: int = 0, seed: int = 0) -> list[ObservedVideo]:
    """Videos of the tiny model."""
    return traffic(MODEL, count, whole_every=whole_every, seed=seed)


def written_log(folder: Path, videos: Sequence[ObservedVideo], **settings: Any) -> list[Path]:
    """A log of ``videos``, appended one by one and closed; its segments."""
    with writer_of(folder, **settings) as writer:
        for video in videos:
            writer.append([video])
            writer.tick()
    return segments_of(folder)


def segments_of(folder: Path) -> list[Path]:
    """The segments that are not sealed."""
    return sorted((folder / "segments").glob("*.gatelog"))


def read(path: Path) -> tuple[list[LoggedVideo], SegmentState]:
    """All of a segment."""
    state = SegmentState()
    return list(read_segment(path, ROWS, state)), state


def logged(folder: Path) -> list[ObservedVideo]:
    """All videos of a log."""
    return [one.video for one in read_log(folder)]


def assert_same(found: Sequence[ObservedVideo], expected: Sequence[ObservedVideo]) -> None:
    """Exactly these, in this order, to the last bit."""
    assert [one.sample_id for one in found] == [one.sample_id for one in expected]
    assert all(same(one, other) for one, other in zip(found, expected, strict=True))
