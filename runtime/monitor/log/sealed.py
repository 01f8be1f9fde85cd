"""Sealed segments: Parquet that says all that the segment said.

``videos.parquet`` has a row for each video and gate, in the segment's order: its counts, to the last bit.
Gates that were kept whole are a run folder beside it, which ``gatescope analyze`` reads like any other; the
column ``whole`` names the video in it. ``segment.json`` keeps what is no video: what
follows the segment, and what its writer could not write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from ...errors import GateLogError, GatescopeError
from ..counting.layout import PLACES, GateLayout
from ..counting.observed import ObservedVideo
from ..counting.videos import SUMS, VIDEO_COUNTERS
from .folder import LogFolder
from .records import LossRecord
from .segment import LoggedVideo
from .whole_gates import WholeGates, read_whole

VIDEOS_FILE = "videos.parquet"
SEGMENT_FILE = "segment.json"
_AT_ONCE = 500

VIDEO_SCHEMA = pl.Schema(
    {
        "time": pl.Datetime("ns", "UTC"),
        "sample_id": pl.String,
        "slice": pl.String,
        "clips": pl.UInt32,
        "whole": pl.String,
        "gate": pl.String,
        "layer": pl.UInt8,
        "bins": pl.Array(pl.UInt64, PLACES),
        **dict.fromkeys(VIDEO_COUNTERS, pl.UInt64),
        **dict.fromkeys(SUMS, pl.Float64),
    }
)


class SealedFacts(msgspec.Struct, frozen=True):
    """What a segment said beside its videos: how many they are, the number of the segment that follows (or
    −1), and what its writer could not write."""

    videos: int
    next: int
    losses: list[LossRecord]


def video_table(
    layout: GateLayout, videos: Sequence[ObservedVideo], whole: Sequence[str | None]
) -> pl.DataFrame:
    """A row for each video and row of ``layout``. ``bins``: below the range, 64 equal bins, above it.

    ``whole``: the names of the videos in the run of gates that were kept whole.
    """
    rows, count = len(layout), len(videos)
    if not videos:
        return pl.DataFrame(schema=VIDEO_SCHEMA)
    integers = np.concatenate([video.integers for video in videos]).astype(np.uint64)
    sums = np.concatenate([video.sums for video in videos])
    of_video = np.repeat(np.arange(count), rows)

    def told(values: list[object], dtype: pl.DataType | type[pl.DataType]) -> pl.Series:
        return pl.Series(values, dtype=dtype).gather(of_video)

    columns: dict[str, pl.Series] = {
        "time": told([video.time for video in videos], pl.Int64).cast(pl.Datetime("ns", "UTC")),
        "sample_id": told([video.sample_id for video in videos], pl.String),
        "slice": told([video.slice for video in videos], pl.String),
        "clips": told([video.clips for video in videos], pl.UInt32),
        "whole": told(list(whole), pl.String),
        "gate": pl.Series([row.kind for row in layout.rows] * count, dtype=pl.String),
        "layer": pl.Series([row.layer for row in layout.rows] * count, dtype=pl.UInt8),
        "bins": pl.Series(integers[:, :PLACES], dtype=pl.Array(pl.UInt64, PLACES)),
        **{name: pl.Series(integers[:, PLACES + at]) for at, name in enumerate(VIDEO_COUNTERS)},
        **{name: pl.Series(sums[:, at]) for at, name in enumerate(SUMS)},
    }
    return pl.DataFrame(columns, schema=VIDEO_SCHEMA)


def videos_of_table(layout: GateLayout, table: pl.DataFrame) -> list[ObservedVideo]:
    """The videos that :func:`video_table` was given, without whole gates.

    Raises ``ValueError`` for a table of other gates.
    """
    rows = len(layout)
    kinds, layers = [row.kind for row in layout.rows], [row.layer for row in layout.rows]
    if len(table) % rows or table.schema != VIDEO_SCHEMA:
        raise ValueError(f"{len(table)} rows of {table.columns}, expected {rows} a video")
    count = len(table) // rows
    if table["gate"].to_list() != kinds * count or table["layer"].to_list() != layers * count:
        raise ValueError("its rows are not those of the log's model")
    if not count:
        return []
    integers = np.concatenate(
        [table["bins"].to_numpy(), table.select(VIDEO_COUNTERS).to_numpy()], axis=1
    ).astype(np.int64)
    sums = table.select(SUMS).to_numpy().astype(np.float64)
    first = table.gather_every(rows)
    return [
        ObservedVideo(time, name, slice_, clips, integers[at : at + rows], sums[at : at + rows])
        for at, time, name, slice_, clips in zip(
            range(0, len(table), rows),
            first["time"].cast(pl.Int64).to_list(),
            first["sample_id"].to_list(),
            first["slice"].to_list(),
            first["clips"].to_list(),
            strict=True,
        )
    ]


def read_sealed(folder: Path, layout: GateLayout, *, gates: bool = False) -> Iterator[LoggedVideo]:
    """Every video of a sealed segment, a few hundred in memory at a time; ``gates``: those kept whole too.

    Raises :class:`~gatescope.runtime.errors.GateLogError` where it cannot be read.
    """
    try:
        scan = pl.scan_parquet(folder / VIDEOS_FILE, glob=False)
        start = 0
        while True:
            table = scan.slice(start * len(layout), _AT_ONCE * len(layout)).collect()
            videos = videos_of_table(layout, table)
            if gates:
                videos = _with_gates(folder, layout, videos, table)
            for number, video in enumerate(videos, start):
                yield LoggedVideo(folder.name, number, video)
            if len(table) < _AT_ONCE * len(layout):
                return
            start += _AT_ONCE
    except (OSError, ValueError, pl.exceptions.PolarsError, GatescopeError) as error:
        raise _unreadable(folder, VIDEOS_FILE, error) from error


def read_facts(folder: Path) -> SealedFacts:
    """What the segment said beside its videos.

    Raises :class:`~gatescope.runtime.errors.GateLogError` where it cannot be read.
    """
    try:
        return msgspec.json.decode((folder / SEGMENT_FILE).read_bytes(), type=SealedFacts)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable(folder, SEGMENT_FILE, error) from error


def write_sealed(folder: Path, log: LogFolder, videos: Iterable[ObservedVideo]) -> int:
    """Write ``videos.parquet`` and the run of whole gates into ``folder``; returns how many videos.

    A few hundred are in memory at a time.
    """
    whole = WholeGates(log, folder / ".whole")
    blocks: list[Path] = []
    videos_of_block: list[ObservedVideo] = []
    names: list[str | None] = []
    count = 0

    def write_block() -> None:
        blocks.append(folder / f".block-{len(blocks)}")
        video_table(log.model.layout, videos_of_block, names).write_parquet(blocks[-1], compression="lz4")
        videos_of_block.clear()
        names.clear()

    try:
        for video in videos:
            names.append(whole.take(video))
            videos_of_block.append(replace(video, gates=None))
            count += 1
            if len(videos_of_block) == _AT_ONCE:
                write_block()
        write_block()
        pl.scan_parquet(blocks, glob=False).sink_parquet(folder / VIDEOS_FILE, compression="zstd")
        whole.write(folder)
    finally:
        whole.close()
        for block in blocks:
            block.unlink(missing_ok=True)
    return count


def write_facts(folder: Path, facts: SealedFacts) -> None:
    """Write ``segment.json``."""
    (folder / SEGMENT_FILE).write_bytes(msgspec.json.encode(facts) + b"\n")


def sealed_start(folder: Path) -> int:
    """When a sealed segment's first video came (Unix nanoseconds); 0 where it has none or cannot be read."""
    try:
        first = pl.scan_parquet(folder / VIDEOS_FILE, glob=False).select("time").head(1).collect()
    except (OSError, pl.exceptions.PolarsError):
        return 0
    return int(first["time"].cast(pl.Int64)[0]) if len(first) else 0


def _with_gates(
    folder: Path, layout: GateLayout, videos: list[ObservedVideo], table: pl.DataFrame
) -> list[ObservedVideo]:
    names: list[str | None] = table.gather_every(len(layout))["whole"].to_list()
    kept = iter(read_whole(folder, [name for name in names if name is not None], list(layout.kinds)))
    return [
        video if name is None else replace(video, gates=next(kept))
        for video, name in zip(videos, names, strict=True)
    ]


def _unreadable(folder: Path, name: str, error: Exception) -> GateLogError:
    return GateLogError(
        f"{folder / name} cannot be read",
        received=str(error).splitlines()[0] if str(error) else repr(error),
        expected="a sealed segment of this log",
        fix=f"see what can be saved: gatescope monitor recover {folder.parent.parent}",
    )
