"""Walks through a run's gates in pieces, so that the whole table is never in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..runtime.errors import RunFolderError
from ..runtime.runs.reader import Run
from ..runtime.runs.schema import part_path

_KEYS = ("sample_id", "layer", "gate")


@dataclass(frozen=True, slots=True)
class GateSeries:
    """One gate of one layer for one sample, over time.

    - ``clips`` (L,): clip indices, ascending; one zero for a global gate.
    - ``values`` (L, d | 1) float32: every channel of an elementwise gate, else one value a clip. A view
      into the part, valid until the next series is asked for.
    - ``contribution`` (L,) float32: how far the gated branch moves the stream, read only without channels;
      None where the run has none.
    """

    sample_id: str
    layer: int
    kind: str
    clips: NDArray[np.uint16]
    values: NDArray[np.float32]
    contribution: NDArray[np.float32] | None = None


def gate_series(
    run: Run, *, channels: bool = True, samples: Collection[str] | None = None
) -> Iterator[GateSeries]:
    """Every gate of every sample, part by part: one part is in memory, and the next one being read.

    With ``channels`` off, elementwise gates come as their mean over channels (L, 1), which is faster to read.
    With ``samples`` only these, by their sample_id, and no part is read that holds none of them.
    Raises :class:`~gatescope.runtime.errors.RunFolderError` where there is no gate or a sample's rows lie in
    two parts.
    """
    part_of_sample: dict[str, Path] = {}
    for part, table in _tables(run, channels, samples):
        for sample_id in table["sample_id"].unique().to_list():
            if (earlier := part_of_sample.setdefault(sample_id, part)) != part:
                raise RunFolderError(
                    f"the sample '{sample_id}' is stored twice",
                    received=f"rows in {earlier.name} and in {part.name}",
                    expected="all gates of a sample in one part",
                    fix="run the model again into a fresh folder",
                )
        yield from _series_of(table)
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


def _tables(run: Run, channels: bool, samples: Collection[str] | None) -> Iterator[tuple[Path, pl.DataFrame]]:
    """Each part with its content; the next one is read while the caller works on this one."""
    parts = _parts(run)
    if samples is not None:
        order = run.samples.select("sample_id").unique(maintain_order=True).collect()["sample_id"]
        places = order.is_in(list(samples)).arg_true().to_list()
        parts = [parts[number] for number in sorted({at // run.record.samples_per_part for at in places})]
    with ThreadPoolExecutor(1, thread_name_prefix="gate parts") as reader:
        coming = [reader.submit(_read, part, channels) for part in parts[:1]]
        for number, part in enumerate(parts):
            table = coming.pop().result()
            coming += [
                reader.submit(_read, following, channels) for following in parts[number + 1 : number + 2]
            ]
            yield part, table if samples is None else table.filter(pl.col("sample_id").is_in(list(samples)))


def _parts(run: Run) -> list[Path]:
    if run.manifest.outputs_kind == "summary":
        raise RunFolderError(
            f"{run.path} holds one summary a gate, not the gates themselves",
            expected="a run of a model exported with `--outputs tracked` or `--outputs gates`",
            fix="export again with one of these, and run again",
        )
    if not run.manifest.tracked_kinds:
        raise RunFolderError(
            f"{run.path} holds predictions, but no gates",
            received="a run of a model that was exported without gate outputs",
            fix="export with `--outputs tracked` and run again",
        )
    return [part_path(run.path, number) for number in range(run.parts)]


def _read(part: Path, channels: bool) -> pl.DataFrame:
    try:
        names = pl.read_parquet_schema(part).keys()
        extra = ["values"] if channels else ["contribution"]
        wanted = [*_KEYS, "clip", "value", *(name for name in extra if name in names)]
        return pl.read_parquet(part, columns=wanted, glob=False).rechunk()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise RunFolderError(
            f"{part} cannot be read",
            received=str(error).splitlines()[0] if str(error) else type(error).__name__,
            expected="a Parquet part with the columns sample_id, layer, gate, clip and value",
            fix="run the model again into a fresh folder",
        ) from error


def _series_of(table: pl.DataFrame) -> Iterator[GateSeries]:
    if table.height == 0:
        return
    starts = _starts(table)
    if len(starts) != table.n_unique(_KEYS):  # a table written in another order than by sample, layer, gate
        table = table.sort([*_KEYS, "clip"])
        starts = _starts(table)
    clips = table["clip"].to_numpy()
    means = table["value"].to_numpy().reshape(-1, 1)
    values = table["values"].to_numpy() if "values" in table.columns else means
    # In a model with gates of both shapes, those without channels have no `values`.
    absent = table["values"].is_null().to_numpy() if "values" in table.columns else np.zeros(len(means), bool)
    ends = [*starts[1:], table.height]
    moved = table["contribution"].to_numpy() if "contribution" in table.columns else None
    heads = table.select(_KEYS)[starts].iter_rows()
    for (sample_id, layer, kind), start, end in zip(heads, starts, ends, strict=True):
        own = means if absent[start] else values
        contribution = None if moved is None else moved[start:end]
        yield GateSeries(sample_id, layer, kind, clips[start:end], own[start:end], contribution)


def _starts(table: pl.DataFrame) -> list[int]:
    """The rows at which another sample, layer or gate begins."""
    new = pl.any_horizontal((pl.col(key) != pl.col(key).shift(1)).fill_null(True) for key in _KEYS)
    return table.select(new.alias("new"))["new"].arg_true().to_list()
