"""Follows a gate log that is being written: what is new since the last look, of all processes."""

from __future__ import annotations

from typing import Literal

from ...errors import GateLogError
from .folder import LogFolder
from .reader import check_same_model
from .segment import LoggedVideo, SegmentReader


class LogFollower:
    """Reads what is appended to ``log`` from now on, or from its beginning.

    Segments may appear, end, be sealed and be removed meanwhile. A frame that is not whole yet is read when
    it is. ``problems``: segments that cannot be followed, and why. ``damaged``: bytes that hold no frame.
    ``lost``: videos that writers say they could not write.
    """

    def __init__(self, log: LogFolder, start: Literal["end", "beginning"] = "end") -> None:
        self.log = log
        self.problems: dict[str, str] = {}
        self._rows = len(log.model.layout)
        self._readers: dict[str, SegmentReader] = {}
        self._done: set[str] = set()
        self._damaged = self._lost = 0
        self._lost_before = 0
        if start == "end":
            self._done.update(path.name for path in log.sealed_paths())
            for reader in self._new_readers():
                for _ in reader.frames(final=False):
                    pass
            self._lost_before = self.lost

    @property
    def lost(self) -> int:
        """Videos that writers have reported as not written, since this follower began."""
        own = sum(loss.videos for reader in self._readers.values() for loss in reader.state.losses)
        return self._lost + own - self._lost_before

    @property
    def damaged(self) -> int:
        """Bytes that hold no whole frame, in what was read."""
        own = sum(
            skipped.end - skipped.start
            for reader in self._readers.values()
            for skipped in reader.state.skipped
        )
        return self._damaged + own

    def poll(self) -> list[LoggedVideo]:
        """The videos that came since the last call, by time; each segment's own order is kept."""
        self._new_readers()
        found: list[tuple[int, LoggedVideo]] = []
        present = {path.stem for path in self.log.segment_paths()}
        for name, reader in list(self._readers.items()):
            latest = 0
            gone = name not in present
            try:
                for video in reader.videos(self._rows, final=gone):
                    latest = max(latest, video.video.time)
                    found.append((latest, video))
            except OSError as error:
                self.problems[name] = error.strerror or str(error)
                gone = True
            if gone or reader.state.end is not None:
                self._forget(name, reader)
        found += self._sealed_unseen()
        found.sort(key=lambda entry: entry[0])
        return [video for _, video in found]

    def close(self) -> None:
        """Release every file."""
        for name, reader in list(self._readers.items()):
            self._forget(name, reader)

    def _new_readers(self) -> list[SegmentReader]:
        made: list[SegmentReader] = []
        for path in self.log.segment_paths():
            name = path.stem
            if name in self._readers or name in self._done or name in self.problems:
                continue
            try:
                reader = SegmentReader(path)
            except FileNotFoundError:
                continue
            except (GateLogError, OSError) as error:
                self.problems[name] = error.problem if isinstance(error, GateLogError) else str(error)
                continue
            try:
                check_same_model(self.log, reader.state, path.name)
            except GateLogError as error:
                self.problems[name] = error.problem
                reader.close()
                continue
            self._readers[name] = reader
            made.append(reader)
        return made

    def _sealed_unseen(self) -> list[tuple[int, LoggedVideo]]:
        """What was written and sealed between two looks."""
        unseen = [path for path in self.log.sealed_paths() if path.name not in self._done]
        if not unseen:
            return []
        from .sealed import read_sealed

        found: list[tuple[int, LoggedVideo]] = []
        for path in unseen:
            if path.name in self._readers:
                continue
            self._done.add(path.name)
            try:
                found += [(one.video.time, one) for one in read_sealed(path, self.log.model.layout)]
            except GateLogError as error:
                self.problems[path.name] = error.problem
        return found

    def _forget(self, name: str, reader: SegmentReader) -> None:
        self._lost += sum(loss.videos for loss in reader.state.losses)
        self._damaged += sum(skipped.end - skipped.start for skipped in reader.state.skipped)
        reader.close()
        del self._readers[name]
        self._done.add(name)
