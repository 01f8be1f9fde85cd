"""Reads a whole gate log: every video once, in the order in which they came."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path

from ...errors import GateLogError
from .folder import LogFolder, open_folder
from .segment import LoggedVideo, SegmentReader, SegmentState, read_segment

#: The time of a segment's first video (Unix nanoseconds), and what reads it.
VideosBySegment = tuple[int, Callable[[], Iterator[LoggedVideo]]]


def read_log(folder: str | Path) -> Iterator[LoggedVideo]:
    """Every video in ``folder``, of sealed and of open segments, by time.

    Each segment keeps its own order, whatever its clock did. Damage inside a segment is stepped over; what is
    lost by it ``gatescope monitor recover`` says. Raises :class:`~gatescope.runtime.errors.GateLogError` for
    a folder that is no log, and segments that cannot be read at all or are newer.
    """
    log = open_folder(folder)
    # Segments first: one that is sealed between the two looks is in both lists, and its Parquet is read.
    segments = _open(log)
    sealed = _sealed(log)
    sources = [source for name, source in segments.items() if name not in sealed]
    yield from merged([*sealed.values(), *sources])


def merged(sources: Sequence[VideosBySegment]) -> Iterator[LoggedVideo]:
    """The videos of all ``sources``, by time; a source is opened when its time comes."""
    waiting = sorted(sources, key=lambda source: source[0], reverse=True)
    order = count()
    heap: list[tuple[int, int, LoggedVideo, Iterator[LoggedVideo]]] = []

    def advance(videos: Iterator[LoggedVideo], latest: int) -> None:
        following = next(videos, None)
        if following is not None:
            # A clock that went back must not put a video before its elder.
            heapq.heappush(heap, (max(latest, following.video.time), next(order), following, videos))

    while waiting or heap:
        while waiting and (not heap or waiting[-1][0] <= heap[0][0]):
            advance(waiting.pop()[1](), 0)
        if heap:
            at, _, video, videos = heapq.heappop(heap)
            yield video
            advance(videos, at)


def check_same_model(log: LogFolder, state: SegmentState, name: str) -> None:
    """See that a segment is of the log's model.

    Raises :class:`~gatescope.runtime.errors.GateLogError` where it is of another.
    """
    if state.header is not None and (different := log.model.differences(state.header.model)):
        raise GateLogError(
            f"the segment {name} is of another model than its log",
            received="; ".join(different),
            expected=f"model {log.model.version}",
            fix="move it to a log folder of its own model",
        )


def _open(log: LogFolder) -> dict[str, VideosBySegment]:
    sources: dict[str, VideosBySegment] = {}
    for path in log.segment_paths():
        try:
            reader = SegmentReader(path)
        except FileNotFoundError:
            continue  # sealed or removed since it was listed
        try:
            check_same_model(log, reader.state, path.name)
            first = next(reader.videos(len(log.model.layout)), None)
        finally:
            reader.close()
        sources[path.stem] = first.video.time if first else 0, partial(_segment, log, path)
    return sources


def _segment(log: LogFolder, path: Path) -> Iterator[LoggedVideo]:
    """The videos of a segment, from its Parquet where it was sealed since it was listed."""
    try:
        yield from read_segment(path, len(log.model.layout))
    except FileNotFoundError:
        if (log.sealed / path.stem).is_dir():
            from .sealed import read_sealed

            yield from read_sealed(log.sealed / path.stem, log.model.layout)


def _sealed(log: LogFolder) -> dict[str, VideosBySegment]:
    folders = log.sealed_paths()
    if not folders:
        return {}
    # Polars is not needed for a log that was never sealed.
    from .sealed import read_sealed, sealed_start

    layout = log.model.layout
    return {folder.name: (sealed_start(folder), partial(read_sealed, folder, layout)) for folder in folders}
