"""Sealed segments: Parquet that says all that the segment said.

``videos.parquet`` has a row for each video and gate, in the segment's order: its counts, to the last bit.
Gates that were kept whole are a run folder beside it, which ``gatescope analyze`` reads like any other.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl

from ...errors import GateLogError
from ...runs.info import FeatureRef, FileRef, RunInfo, Selection, Timings
from ...runs.schema import SAMPLES_SCHEMA
from ...runs.table import SampleGates
from ...runs.writer import RunWriter, samples_per_part
from ..counting.layout import PLACES, GateLayout
from ..counting.videos import COUNTERS, SUMS
from ..observed import ObservedVideo
from .folder import LogFolder
from .segment import LoggedVideo

VIDEOS_FILE = "videos.parquet"
_AT_ONCE = 500
_FROM_TRAFFIC = "(traffic of a service, from its gate log)"

VIDEO_SCHEMA = pl.Schema(
    {
        "time": pl.Datetime("ns", "UTC"),
        "sample_id": pl.String,
        "slice": pl.String,
        "clips": pl.UInt32,
        "gate": pl.String,
        "layer": pl.UInt8,
        "bins": pl.Array(pl.UInt64, PLACES),
        **dict.fromkeys(COUNTERS, pl.UInt64),
        **dict.fromkeys(SUMS, pl.Float64),
    }
)


def video_table(layout: GateLayout, videos: Sequence[ObservedVideo]) -> pl.DataFrame:
    """A row for each video and row of ``layout``. ``bins``: below the range, 64 equal bins, above it."""
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
        "gate": pl.Series([row.kind for row in layout.rows] * count, dtype=pl.String),
        "layer": pl.Series([row.layer for row in layout.rows] * count, dtype=pl.UInt8),
        "bins": pl.Series(integers[:, :PLACES], dtype=pl.Array(pl.UInt64, PLACES)),
        **{name: pl.Series(integers[:, PLACES + at]) for at, name in enumerate(COUNTERS)},
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
    integers = np.concatenate([table["bins"].to_numpy(), table.select(COUNTERS).to_numpy()], axis=1).astype(
        np.int64
    )
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


def read_sealed(folder: Path, layout: GateLayout) -> Iterator[LoggedVideo]:
    """Every video of a sealed segment, a few hundred in memory at a time.

    Raises :class:`~gatescope.runtime.errors.GateLogError` where it cannot be read.
    """
    path = folder / VIDEOS_FILE
    try:
        scan = pl.scan_parquet(path, glob=False)
        start = 0
        while True:
            table = scan.slice(start * len(layout), _AT_ONCE * len(layout)).collect()
            for number, video in enumerate(videos_of_table(layout, table), start):
                yield LoggedVideo(folder.name, number, video)
            if len(table) < _AT_ONCE * len(layout):
                return
            start += _AT_ONCE
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise GateLogError(
            f"{path} cannot be read",
            received=str(error).splitlines()[0] if str(error) else repr(error),
            expected="a sealed segment of this log",
            fix=f"see what can be saved: gatescope monitor recover {folder.parent.parent}",
        ) from error


def write_videos(path: Path, layout: GateLayout, videos: Iterable[ObservedVideo]) -> int:
    """Write ``videos.parquet``; returns how many videos. They are held as a table."""
    tables: list[pl.DataFrame] = []
    block: list[ObservedVideo] = []
    count = 0
    for video in videos:
        block.append(video)
        count += 1
        if len(block) == _AT_ONCE:
            tables.append(video_table(layout, block))
            block = []
    tables.append(video_table(layout, block))
    pl.concat(tables).write_parquet(path, compression="zstd")
    return count


def write_whole_gates(folder: Path, log: LogFolder, videos: Sequence[ObservedVideo]) -> None:
    """Write the gates of ``videos``, each kept whole, as a finished run into ``folder``, which is there.

    Ids are made distinct by a number. Videos with a value that is no finite number are left out: a run holds
    none.
    """
    kept = [video for video in videos if video.gates and _finite(video)]
    if not kept:
        return
    names = _distinct([video.sample_id or "video" for video in kept])
    table = pl.DataFrame(
        {
            "sample_id": names,
            "qid": names,
            "vid": [video.sample_id for video in kept],
            "clips": [video.clips for video in kept],
            "duration": [None] * len(kept),
        },
        schema=SAMPLES_SCHEMA,
    )
    info = RunInfo(
        model=FileRef(_FROM_TRAFFIC, log.model.file),
        manifest=log.manifest,
        annotations=FileRef(_FROM_TRAFFIC, ""),
        features=FeatureRef((_FROM_TRAFFIC,), _FROM_TRAFFIC, None),
        selection=Selection(),
        batch_size=1,
        device="unknown",
        samples=len(kept),
        samples_per_part=samples_per_part(log.manifest, 1),
        predictions=False,
        versions={
            "gatescope": version("gatescope"),
            "python": platform.python_version(),
            "polars": pl.__version__,
        },
    )
    writer = RunWriter.begin(folder, info, table)
    for start in range(0, len(kept), info.samples_per_part):
        part = slice(start, start + info.samples_per_part)
        writer.write_part(
            [
                SampleGates(name, dict(video.gates or {}))
                for name, video in zip(names[part], kept[part], strict=True)
            ],
            [],
            Timings(),
        )
    writer.finish()


def _finite(video: ObservedVideo) -> bool:
    return all(bool(np.isfinite(array).all()) for array in (video.gates or {}).values())


def _distinct(names: Sequence[str]) -> list[str]:
    """The first of each name as it is, further ones with a number that no other has."""
    taken = set(names)
    seen: dict[str, int] = {}
    made: list[str] = []
    for name in names:
        number = seen.get(name, 0)
        chosen = name
        while number and chosen in taken:
            chosen = f"{name}#{number + 1}"
            number += chosen in taken
        seen[name] = max(number, 1)
        taken.add(chosen)
        made.append(chosen)
    return made


def sealed_start(folder: Path) -> int:
    """When a sealed segment's first video came (Unix nanoseconds); 0 where it has none or cannot be read."""
    try:
        first = pl.scan_parquet(folder / VIDEOS_FILE, glob=False).select("time").head(1).collect()
    except (OSError, pl.exceptions.PolarsError):
        return 0
    return int(first["time"].cast(pl.Int64)[0]) if len(first) else 0
