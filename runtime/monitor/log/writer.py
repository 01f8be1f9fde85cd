"""Writes one process's segments: what was appended survives the process, what was synced the machine.

:meth:`GateLogWriter.append` makes one write of all it is given. What it then counts as ``acknowledged`` is in
the kernel's hands, and a crash of the process loses none of it. ``durable`` counts what was forced to the
disk: a power loss takes at most what came since. No fault of the disk is ever raised once the log is open:
torn frames are cut off again, losses counted, and written down as soon as writing works.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from ...errors import GateLogError
from ...files import local
from ...gates.manifest import Manifest
from ..counting.observed import ObservedVideo
from ..model import WatchedModel
from ..settings import LogSettings
from .clock import begin_clock
from .folder import SUFFIX, LogFolder, join_folder, process_name, sync_folder
from .frames import END, HEADER, LOSS, SALT_BYTES, VIDEO, pack, preamble
from .records import EndRecord, HeaderRecord, LossRecord, encode, encode_video
from .upkeep import Upkeep

# Seconds until writing is tried again after it failed, doubled each time.
FIRST_WRITING_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


class GateLogWriter:
    """The log of one process in ``folder``, which may be shared with others of the same model.

    Not for several threads at once. After a fork the child writes a segment of its own.

    - ``acknowledged``: videos written. ``durable``: of them, forced to the disk. ``at_risk``: of them, in
      segments whose sync failed, and so perhaps not on the disk. ``lost``: videos not written.
    - ``errors``: how often the disk failed; ``last_error`` says how. ``bytes_written``: of frames.

    Raises :class:`~gatescope.runtime.errors.GateLogError` where the folder cannot be written, is of another
    model, or of a newer version.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        manifest: Manifest,
        model: WatchedModel,
        settings: LogSettings | None = None,
    ) -> None:
        self.settings = settings or LogSettings()
        self.folder: LogFolder = join_folder(local(folder), manifest, model)
        with contextlib.suppress(OSError):
            begin_clock(self.folder)
        self.acknowledged = self.durable = self.at_risk = self.lost = self.errors = self.bytes_written = 0
        self.last_error = ""
        self._manifest = manifest.to_json()
        self._model = model
        self._closed = False
        self._begin_process()
        try:
            self._open()
        except OSError as error:
            raise GateLogError(
                f"no segment can be opened in {self.folder.segments}",
                received=error.strerror or str(error),
                fix="choose a folder this process may write to",
            ) from error

    @property
    def segment(self) -> str:
        """Name of the open segment, empty where none is."""
        return self._path.stem if self._is_open() else ""

    def append(self, videos: Sequence[ObservedVideo]) -> int:
        """Write ``videos`` with one write; returns how many are acknowledged. Never raises for the disk."""
        if not videos:
            return 0
        self._after_fork()
        if self._closed or not self._ready():
            self._lose(len(videos))
            return 0
        loss = self._loss_frame(self._offset)
        frames = [loss] if loss else []
        reports = len(frames)
        offset = self._offset + len(loss)
        ends = [offset] * reports
        for video in videos:
            frames.append(pack(self._salt, offset, VIDEO, encode_video(video)))
            offset += len(frames[-1])
            ends.append(offset)
        reached = self._offset + self._write(b"".join(frames))
        complete = [end for end in ends if end <= reached]
        kept = complete[-1] if complete else self._offset
        whole = max(len(complete) - reports, 0)
        if complete and reports:
            self._unreported = 0
        if reached != kept:
            self._cut(kept)
        self._advance(kept, whole)
        if whole < len(videos):
            self._lose(len(videos) - whole)
        return whole

    def tick(self) -> None:
        """Sync and rotate where it is time; to be called a few times a second."""
        self._after_fork()
        if self._closed:
            return
        now = time.monotonic()
        if self._descriptor is None:
            self._ready()
            return
        if self._is_gone():
            self._failed(OSError(0, f"{self._path.name} was removed while it was written"))
            self._abandon()
            return
        if self._dirty and now - self._synced >= self.settings.sync_seconds:
            self._sync()
        old = now - self._opened >= self.settings.segment_seconds and self._videos > 0
        if self._is_open() and (old or self._offset >= self.settings.segment_bytes):
            self._end(rotate=True)

    def sync(self) -> None:
        """Force all that was written to the disk now."""
        self._after_fork()
        if self._descriptor is not None and self._dirty:
            self._sync()

    def close(self) -> None:
        """End the segment; a second time does nothing."""
        self._after_fork()
        if not self._closed and self._descriptor is not None:
            self._end(rotate=False)
        self._closed = True

    def disown(self) -> None:
        """In a forked child: let go of the parent's segment, and write nothing to it."""
        self._after_fork()
        self._closed = True

    def __enter__(self) -> GateLogWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _begin_process(self) -> None:
        self._process_id = os.getpid()
        self.process = process_name()
        self._number = 0
        self._descriptor: int | None = None
        self._path = Path()
        self._offset = self._videos = self._unsynced = self._unreported = 0
        self._lost_since = 0
        self._dirty = False
        self._pause, self._not_before = FIRST_WRITING_PAUSE, 0.0
        self._opened = self._synced = time.monotonic()
        self._salt = b""
        self._upkeep = Upkeep(self.folder, self.settings)

    def _after_fork(self) -> None:
        """A child has its parent's descriptor and must not write to it."""
        if self._process_id == os.getpid():
            return
        if self._descriptor is not None:
            os.close(self._descriptor)
        self.acknowledged = self.durable = self.at_risk = self.lost = self.errors = self.bytes_written = 0
        self.last_error = ""
        self._begin_process()

    def _ready(self) -> bool:
        """Whether a segment is open, or can be opened now."""
        if self._descriptor is not None:
            return time.monotonic() >= self._not_before
        if time.monotonic() < self._not_before:
            return False
        try:
            self._open()
        except OSError as error:
            self._failed(error)
            return False
        return True

    def _is_open(self) -> bool:
        return self._descriptor is not None

    def _open(self) -> None:
        """Begin a segment; it gets its name when it is locked and has its header, so that none is taken for
        one whose process is gone."""
        name = f"{self.process}-{self._number:06}"
        self.folder.segments.mkdir(parents=True, exist_ok=True)
        hidden = self.folder.segments / f".{name}.partial"
        path = self.folder.segments / f"{name}{SUFFIX}"
        salt = os.urandom(SALT_BYTES)
        header = HeaderRecord(self.process, self._number, time.time_ns(), self._model, self._manifest)
        start = preamble(salt)
        start += pack(salt, len(start), HEADER, encode(header))
        descriptor = os.open(hidden, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.write(descriptor, start) != len(start):
                raise OSError(28, os.strerror(28))
            os.fsync(descriptor)
            hidden.rename(path)
            sync_folder(self.folder.segments)
        except OSError:
            os.close(descriptor)
            hidden.unlink(missing_ok=True)
            raise
        self._descriptor, self._path, self._salt = descriptor, path, salt
        self._offset, self._videos, self._unsynced, self._dirty = len(start), 0, 0, False
        self._opened = self._synced = time.monotonic()
        self.bytes_written += len(start)
        self._number += 1

    def _write(self, data: bytes) -> int:
        """How much of ``data`` was written."""
        assert self._descriptor is not None
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            self._failed(error)
            return 0
        if written < len(data):
            self._failed(OSError(28, os.strerror(28)))
        else:
            self._pause = FIRST_WRITING_PAUSE
        return written

    def _cut(self, end: int) -> None:
        """Take back what was written of a frame that is not whole."""
        assert self._descriptor is not None
        try:
            os.ftruncate(self._descriptor, end)
        except OSError as error:
            self._failed(error)
            self._abandon()

    def _advance(self, offset: int, videos: int) -> None:
        self.bytes_written += offset - self._offset
        self._dirty |= offset != self._offset
        self._offset = offset
        self.acknowledged += videos
        if self._descriptor is not None:
            self._videos += videos
            self._unsynced += videos
        else:
            self.at_risk += videos

    def _sync(self) -> None:
        assert self._descriptor is not None
        self._synced = time.monotonic()
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            # The kernel may have dropped what it could not write; a second sync would hide that.
            self._failed(error)
            self._abandon()
            return
        self.durable += self._unsynced
        self._unsynced, self._dirty = 0, False

    def _end(self, *, rotate: bool) -> None:
        """Close the segment with its end frame."""
        assert self._descriptor is not None
        frames = self._loss_frame(self._offset)
        record = EndRecord(self._videos, self._number if rotate else -1)
        frames += pack(self._salt, self._offset + len(frames), END, encode(record))
        written = self._write(frames)
        if written == len(frames):
            self._unreported = 0
            self._advance(self._offset + written, 0)
        elif written:
            self._cut(self._offset)
        if self._is_open():
            self._sync()
        # A descriptor that failed on the way is given up already.
        if not self._is_open():
            return
        os.close(self._descriptor)
        self._descriptor = None
        if rotate:
            self._ready()
        if self.settings.seal:
            for fault in self._upkeep.start():
                self.errors += 1
                self.last_error = f"maintenance: {fault}"

    def _abandon(self) -> None:
        """Leave a segment whose descriptor can no longer be trusted; the next one begins with more videos."""
        assert self._descriptor is not None
        self.at_risk += self._unsynced
        self._unsynced, self._dirty = 0, False
        os.close(self._descriptor)
        self._descriptor = None

    def _is_gone(self) -> bool:
        assert self._descriptor is not None
        try:
            return os.fstat(self._descriptor).st_nlink == 0
        except OSError:
            return True

    def _lose(self, videos: int) -> None:
        self.lost += videos
        if not self._unreported:
            self._lost_since = time.time_ns()
        self._unreported += videos

    def _loss_frame(self, offset: int) -> bytes:
        """What is to be said of lost videos, as a frame at ``offset``; empty where there is nothing."""
        if not self._unreported:
            return b""
        loss = LossRecord(self._unreported, self._lost_since, time.time_ns(), self.last_error)
        return pack(self._salt, offset, LOSS, encode(loss))

    def _failed(self, error: OSError) -> None:
        self.errors += 1
        self.last_error = error.strerror or str(error)
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
