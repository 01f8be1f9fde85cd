"""Reads one segment, sealed or not: the videos in it, in order, and what is wrong with the rest of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ...brief import brief
from ...errors import GateLogError
from ..counting.observed import ObservedVideo
from .frames import (
    END,
    HEADER,
    LOSS,
    PREAMBLE_BYTES,
    VIDEO,
    Frame,
    SkippedFrame,
    Torn,
    find_frame,
    next_frame,
    read_preamble,
)
from .records import EndRecord, HeaderRecord, LossRecord, decode_video

_CHUNK = 2**20


@dataclass(frozen=True, eq=False)
class LoggedVideo:
    """A video, the segment that holds it (its name), and where in it: bytes, or rows once it is sealed."""

    segment: str
    offset: int
    video: ObservedVideo

    def __repr__(self) -> str:
        return brief(self)


@dataclass
class SegmentState:
    """What was found in a segment so far.

    - ``header``, ``end``: None where they are not there or damaged. ``losses``: what the writer could not
      write. ``skipped``: damage. ``torn``: where a frame begins that is not whole, at the end of the file.
    - ``videos``: read. ``first``, ``last``: their times (Unix nanoseconds). ``size``: bytes looked at.
    """

    header: HeaderRecord | None = None
    end: EndRecord | None = None
    losses: list[LossRecord] = field(default_factory=list[LossRecord])
    skipped: list[SkippedFrame] = field(default_factory=list[SkippedFrame])
    torn: int | None = None
    videos: int = 0
    first: int = 0
    last: int = 0
    size: int = 0

    @property
    def whole(self) -> bool:
        """Whether nothing in it is damaged; a torn frame at its end was never acknowledged."""
        return (
            self.header is not None
            and not self.skipped
            and (self.end is None or self.end.videos == self.videos)
        )


class SegmentReader:
    """Goes through the file ``path`` frame by frame, from where it was the last time.

    The descriptor stays open: a file that is removed meanwhile can be read to its end. Raises
    :class:`~gatescope.runtime.errors.GateLogError` for a file that is no segment, or a newer version's, and
    ``OSError`` where it cannot be read.
    """

    def __init__(self, path: Path, state: SegmentState | None = None) -> None:
        self.name = path.stem
        self.state = state if state is not None else SegmentState()
        self._descriptor = os.open(path, os.O_RDONLY)
        try:
            self._salt = read_preamble(os.pread(self._descriptor, PREAMBLE_BYTES, 0), path.name)
        except GateLogError:
            self.close()
            raise
        self.position = PREAMBLE_BYTES
        first = next(iter(self.frames(final=False)), None)
        if first is None or first.kind != HEADER:
            # The header is damaged or cut off: what was read in search of it is read again.
            self.position = PREAMBLE_BYTES
            self.state.skipped.clear()
            self.state.losses.clear()
            self.state.end = None

    def close(self) -> None:
        """Release the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def videos(self, rows: int, *, final: bool = True) -> Iterator[LoggedVideo]:
        """The videos from here on; ``rows``: R of the log's model. With ``final`` nothing more will come."""
        for frame in self.frames(final=final):
            if frame.kind != VIDEO:
                continue
            try:
                video = decode_video(frame.payload, rows)
            except (ValueError, msgspec.DecodeError, IndexError):
                self.state.skipped.append(SkippedFrame(frame.offset, frame.end))
                continue
            state = self.state
            state.first = state.first if state.videos else video.time
            state.videos += 1
            state.last = video.time
            yield LoggedVideo(self.name, frame.offset, video)

    def frames(self, *, final: bool = True) -> Iterator[Frame]:
        """The whole frames from here on; damage is stepped over when one follows it, or with ``final``."""
        buffer, base = b"", self.position
        self.state.torn = None
        while True:
            chunk = os.pread(self._descriptor, _CHUNK, base + len(buffer))
            buffer += chunk
            at, waits = 0, False
            while not waits and at < len(buffer):
                found = next_frame(buffer, base, self._salt, at)
                if isinstance(found, Frame):
                    self.position = found.end
                    at = found.end - base
                    self._take(found)
                    yield found
                elif isinstance(found, Torn) and chunk:
                    waits = True
                else:
                    later = find_frame(buffer, base, self._salt, at + 1)
                    if later is not None and isinstance(later[1], Frame):
                        self.state.skipped.append(SkippedFrame(base + at, base + later[0]))
                        at = later[0]
                    else:
                        waits = True
            if not chunk:
                self._finish(base + at, base + len(buffer), final=final)
                return
            buffer, base = buffer[at:], base + at

    def _finish(self, start: int, end: int, *, final: bool) -> None:
        """What is left between the last whole frame and the end of the file."""
        self.state.size = end
        if start == end or not final:
            return
        left = os.pread(self._descriptor, end - start, start)
        if isinstance(next_frame(left, start, self._salt, 0), Torn):
            self.state.torn = start
        else:
            later = find_frame(left, start, self._salt, 1)
            stop = start + later[0] if later is not None else end
            self.state.skipped.append(SkippedFrame(start, stop))
            self.state.torn = stop if later is not None else None
        self.position = end

    def _take(self, frame: Frame) -> None:
        try:
            if frame.kind == HEADER:
                self.state.header = msgspec.msgpack.decode(frame.payload, type=HeaderRecord)
            elif frame.kind == LOSS:
                self.state.losses.append(msgspec.msgpack.decode(frame.payload, type=LossRecord))
            elif frame.kind == END:
                self.state.end = msgspec.msgpack.decode(frame.payload, type=EndRecord)
        except (msgspec.DecodeError, ValueError):
            self.state.skipped.append(SkippedFrame(frame.offset, frame.end))


def read_segment(path: Path, rows: int, state: SegmentState | None = None) -> Iterator[LoggedVideo]:
    """Every video of a segment that is not sealed; ``state``, where given, is filled on the way."""
    reader = SegmentReader(path, state)
    try:
        yield from reader.videos(rows)
    finally:
        reader.close()
