"""Where a baseline's videos come from: a run folder's gates or statistics, or a gate log."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import BaselineError
from ...gates.vocabulary import SUMMARY_FIELDS
from ...runs.gates import read_gates, read_summaries, values_of
from ...runs.reader import Run
from ..counting.layout import GateLayout
from ..counting.observed import ObservedVideo, ObservedVideos
from ..counting.videos import VideoCounts, count_gates, count_summaries
from ..model import WatchedModel
from .videos import BaselineVideos

_BATCH = 256


def model_of_run(run: Run) -> WatchedModel:
    """The model whose gates ``run`` holds."""
    return WatchedModel.of(run.manifest, run.record.model.sha256)


def videos_of_run(run: Run) -> BaselineVideos:
    """Every video of ``run``, one sample of each; one part in memory at a time.

    Raises :class:`~gatescope.runtime.errors.BaselineError` where the run has no gates, and
    :class:`~gatescope.runtime.errors.RunFolderError` where a part cannot be read.
    """
    layout = model_of_run(run).layout
    names: list[str] = []
    parts: list[VideoCounts] = []
    for own, counts in samples_of_run(run):
        names += own
        parts.append(counts)
    if not names:
        raise BaselineError(
            f"{run.path} holds no gates",
            expected="a run of an export with --outputs gates, tracked or summary",
        )
    vids = dict(run.samples.select("sample_id", "vid").collect().rows())
    # A folder that was not written from a dataset knows no videos: each sample is one.
    return BaselineVideos.of(
        layout,
        [vids.get(name) or name for name in names],
        names,
        [""] * len(names),
        VideoCounts.joined(parts),
    )


def samples_of_run(run: Run) -> Iterator[tuple[list[str], VideoCounts]]:
    """The samples of ``run`` with their counts, in blocks; within a part those of one length together."""
    layout = model_of_run(run).layout
    for number in range(run.parts):
        if run.record.gates:
            yield from _count_gate_rows(layout, read_gates(run.path, number))
        elif run.record.summaries:
            yield _count_summary_rows(layout, read_summaries(run.path, number))


def videos_of_log(layout: GateLayout, videos: Iterator[ObservedVideo]) -> BaselineVideos:
    """Every video of a gate log, one request of each id; a request without an id is a video of its own."""
    found = BaselineVideos.empty(layout)
    block: list[ObservedVideo] = []
    for number, video in enumerate(videos, 1):
        block.append(video)
        if number % _BATCH == 0:
            found, block = BaselineVideos.joined([found, _of_observed(layout, block)]), []
    return BaselineVideos.joined([found, _of_observed(layout, block)]) if block else found


def _of_observed(layout: GateLayout, videos: list[ObservedVideo]) -> BaselineVideos:
    ids = [video.sample_id or _nameless(video) for video in videos]
    # Which of an id's requests stands for it must not depend on their order.
    requests = [f"{name}\0{video.time}" for name, video in zip(ids, videos, strict=True)]
    return BaselineVideos.of(
        layout, ids, requests, [video.slice for video in videos], ObservedVideos.of(videos).counts
    )


def _nameless(video: ObservedVideo) -> str:
    return f"\0{video.time}\0{hashlib.blake2b(video.integers.tobytes(), digest_size=8).hexdigest()}"


def _count_gate_rows(layout: GateLayout, table: pl.DataFrame) -> Iterator[tuple[list[str], VideoCounts]]:
    by_kind = {kind: _Rows(table.filter(pl.col("gate") == kind), rows) for kind, rows in layout.kinds.items()}
    first = next(iter(by_kind.values()))
    shapes: dict[tuple[int, ...], list[int]] = {}
    for number in range(len(first.names)):
        shape = tuple(int(rows.lengths[number]) for rows in by_kind.values())
        shapes.setdefault(shape, []).append(number)
    for shape, numbers in shapes.items():
        for start in range(0, len(numbers), _BATCH):
            own = numbers[start : start + _BATCH]
            gates = {
                kind: rows.stacked(own, length)
                for (kind, rows), length in zip(by_kind.items(), shape, strict=True)
            }
            yield [first.names[number] for number in own], count_gates(layout, gates)


class _Rows:
    """The gate table's rows of one kind: they lie sample by sample, layer by layer, clip by clip."""

    def __init__(self, table: pl.DataFrame, layout_rows: slice) -> None:
        self._layers = layout_rows.stop - layout_rows.start
        runs = table["sample_id"].rle().struct.unnest()
        self.names: list[str] = runs["value"].to_list()
        rows_of = runs["len"].to_numpy().astype(np.int64)
        self.lengths = rows_of // self._layers
        self._starts = np.concatenate([[0], rows_of.cumsum()])
        self._values = values_of(table)

    def stacked(self, numbers: list[int], length: int) -> NDArray[np.float32]:
        """(N, layers, length, channels)."""
        blocks = [
            self._values[self._starts[n] : self._starts[n + 1]].reshape(self._layers, length, -1)
            for n in numbers
        ]
        return np.stack(blocks)


def _count_summary_rows(layout: GateLayout, table: pl.DataFrame) -> tuple[list[str], VideoCounts]:
    names = table["sample_id"].unique(maintain_order=True).to_list()
    fields = {
        kind: table.filter(pl.col("gate") == kind)
        .select(SUMMARY_FIELDS)
        .to_numpy()
        .astype(np.float32)
        .reshape(len(names), rows.stop - rows.start, len(SUMMARY_FIELDS))
        for kind, rows in layout.kinds.items()
    }
    return names, count_summaries(layout, fields)


def folder_kind(path: Path) -> str:
    """``run``, ``log`` or ``baseline``: what ``path`` is, by the file that every one of them has.

    Raises :class:`~gatescope.runtime.errors.BaselineError` for anything else.
    """
    if path.is_file():
        return "baseline"
    if (path / "run.json").is_file():
        return "run"
    if (path / "log.json").is_file():
        return "log"
    raise BaselineError(
        f"{path} is not a source of gates",
        received="a folder without run.json or log.json" if path.is_dir() else "nothing: it is not there",
        expected="a run folder ('gatescope run'), a log folder (of a MonitoredSession), or a baseline file",
    )
