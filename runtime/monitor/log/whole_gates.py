"""Gates of a log that were kept whole, as a finished run folder: what ``gatescope analyze`` reads.

Which they are is known only when all were seen, and they may be many: on their way they wait in a file.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...data.dataset import Selection
from ...runs.info import FeatureRef, FileRef, RunInfo, Timings
from ...runs.reader import open_run
from ...runs.schema import SAMPLES_SCHEMA
from ...runs.table import SampleGates
from ...runs.writer import RunWriter, samples_per_part
from ..counting.observed import ObservedVideo
from .folder import LogFolder
from .records import decode_video, encode_video

_FROM_TRAFFIC = "(traffic of a service, from its gate log)"
_LENGTH_BYTES = 4


@dataclass(frozen=True)
class _Waiting:
    """A video in the file: its name in the run, its id, its clips."""

    name: str
    sample_id: str
    clips: int


class WholeGates:
    """Takes the videos whose gates were kept whole, one by one, and then writes them as a run.

    Names in the run are the ids; further ones of the same id get a number. Videos with a value that is no
    finite number are left out, for a run holds none.
    """

    def __init__(self, log: LogFolder, spool: Path) -> None:
        self._log = log
        self._spool = spool
        self._stream: BinaryIO | None = None
        self._waiting: list[_Waiting] = []
        self._taken: dict[str, int] = {}

    def take(self, video: ObservedVideo) -> str | None:
        """The name that ``video`` has in the run; None where it is not in it."""
        if not video.gates or not _finite(video):
            return None
        if self._stream is None:
            self._stream = self._spool.open("w+b")
        payload = encode_video(video)
        self._stream.write(len(payload).to_bytes(_LENGTH_BYTES, "little") + payload)
        name = self._distinct(video.sample_id or "video")
        self._waiting.append(_Waiting(name, video.sample_id, video.clips))
        return name

    def write(self, folder: Path) -> None:
        """Write the run into ``folder``, which is there; nothing where no video was taken."""
        if self._stream is None:
            return
        try:
            self._write(folder, self._stream)
        finally:
            self.close()

    def close(self) -> None:
        """Release and remove the file."""
        if self._stream is not None:
            self._stream.close()
            self._spool.unlink(missing_ok=True)
        self._stream = None

    def _write(self, folder: Path, stream: BinaryIO) -> None:
        waiting = self._waiting
        names = [one.name for one in waiting]
        samples = pl.DataFrame(
            {
                "sample_id": names,
                "qid": names,
                "vid": [one.sample_id for one in waiting],
                "clips": [one.clips for one in waiting],
                "duration": [None] * len(waiting),
            },
            schema=SAMPLES_SCHEMA,
        )
        per_part = samples_per_part(self._log.manifest, 1)
        info = _run_info(self._log, len(waiting), per_part)
        writer = RunWriter.begin(folder, info, samples)
        stream.seek(0)
        videos = self._read(stream)
        for start in range(0, len(names), per_part):
            part = [
                SampleGates(name, dict(next(videos).gates or {})) for name in names[start : start + per_part]
            ]
            writer.write_part(part, [], Timings())
        writer.finish()

    def _read(self, stream: BinaryIO) -> Iterator[ObservedVideo]:
        while length := stream.read(_LENGTH_BYTES):
            yield decode_video(stream.read(int.from_bytes(length, "little")), len(self._log.model.layout))

    def _distinct(self, name: str) -> str:
        chosen, number = name, self._taken.get(name, 0)
        while chosen in self._taken:
            number += 1
            chosen = f"{name}#{number}"
        self._taken[name] = max(number, 1)
        self._taken.setdefault(chosen, 1)
        return chosen


def read_whole(
    folder: Path, names: Sequence[str], kinds: Sequence[str]
) -> list[dict[str, NDArray[np.float32]]]:
    """The gates of the videos ``names`` of the run ``folder``, by kind, as they were taken.

    Raises :class:`~gatescope.runtime.errors.RunFolderError` where they cannot be read.
    """
    if not names:
        return []
    run = open_run(folder)
    return [{kind: run.tensor(name, kind) for kind in kinds} for name in names]


def _run_info(log: LogFolder, samples: int, per_part: int) -> RunInfo:
    return RunInfo(
        model=FileRef(_FROM_TRAFFIC, log.model.file),
        manifest=log.manifest,
        annotations=FileRef(_FROM_TRAFFIC, ""),
        features=FeatureRef((_FROM_TRAFFIC,), _FROM_TRAFFIC, None),
        selection=Selection(),
        batch_size=1,
        device="unknown",
        samples=samples,
        samples_per_part=per_part,
        predictions=False,
        versions={
            "gatescope": version("gatescope"),
            "python": platform.python_version(),
            "polars": pl.__version__,
        },
    )


def _finite(video: ObservedVideo) -> bool:
    return all(bool(np.isfinite(array).all()) for array in (video.gates or {}).values())
