"""Walks through a run's gates in pieces, so that the whole table is never in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import polars as pl

from ..errors import RunFolderError
from .gates import GateSeries, read_gates, series_of
from .reader import Run


def gate_series(
    run: Run, *, channels: bool = True, samples: Collection[str] | None = None
) -> Iterator[GateSeries]:
    """Every gate of every sample, part by part: one part is in memory, and the next one being read.

    With ``channels`` off, elementwise gates come as their mean over channels (L, 1), which is faster to read.
    With ``samples`` only these, by their sample_id, and no part is read that holds none of them.
    Raises :class:`~gatescope.runtime.errors.RunFolderError` where there is no gate or a sample's rows lie in
    two parts.
    """
    part_of_sample: dict[str, int] = {}
    for part, table in _tables(run, channels, samples):
        for sample_id in table["sample_id"].unique().to_list():
            if (earlier := part_of_sample.setdefault(sample_id, part)) != part:
                raise RunFolderError(
                    f"the sample '{sample_id}' is stored twice",
                    received=f"rows in part-{earlier:05}.parquet and in part-{part:05}.parquet",
                    expected="all gates of a sample in one part",
                    fix="run the model again into a fresh folder",
                )
        yield from series_of(table)
    if not part_of_sample and samples is None:
        raise RunFolderError(
            f"{run.path} holds no samples yet",
            received="a run without a row in its gate table",
            fix="continue it with `gatescope run … --resume`, or run again",
        )


def sample_series(
    run: Run, *, channels: bool = True, samples: Collection[str] | None = None
) -> Iterator[tuple[str, list[GateSeries]]]:
    """The same by sample: its id and all its gates, in the table's order."""
    for sample_id, series in groupby(
        gate_series(run, channels=channels, samples=samples), key=lambda one: one.sample_id
    ):
        yield sample_id, list(series)


def _tables(run: Run, channels: bool, samples: Collection[str] | None) -> Iterator[tuple[int, pl.DataFrame]]:
    """Each part with its content; the next one is read while the caller works on this one."""
    parts = _parts(run)
    if samples is not None:
        places = run.parts_of_samples()
        parts = sorted({places[sample_id] for sample_id in samples if sample_id in places})

    def read(part: int) -> pl.DataFrame:
        table = read_gates(run.path, part, channels=channels, contribution=not channels, samples=samples)
        return table.rechunk()

    with ThreadPoolExecutor(1, thread_name_prefix="gate parts") as reader:
        coming = [reader.submit(read, part) for part in parts[:1]]
        for number, part in enumerate(parts):
            table = coming.pop().result()
            coming += [reader.submit(read, following) for following in parts[number + 1 : number + 2]]
            yield part, table


def _parts(run: Run) -> list[int]:
    if run.manifest.outputs_kind == "summary":
        raise RunFolderError(
            f"{run.path} holds one summary per gate, not the gates themselves",
            expected="a run of a model exported with `--outputs tracked` or `--outputs gates`",
            fix="export again with one of these, and run again",
        )
    if not run.manifest.tracked_kinds:
        raise RunFolderError(
            f"{run.path} holds predictions, but no gates",
            received="a run of a model that was exported without gate outputs",
            fix="export with `--outputs tracked` and run again",
        )
    return list(range(run.parts))
