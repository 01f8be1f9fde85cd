"""Reads the gate table: rows of one part, and rows as arrays. Whatever reads a run's gates does it here."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..array_types import Float32s
from ..errors import RunFolderError
from .schema import SUMMARY_FOLDER, part_path

_GATE = ("sample_id", "layer", "gate")
#: What tells one row of the table from every other.
ROW_KEYS = (*_GATE, "clip")


@dataclass(frozen=True, slots=True)
class GateSeries:
    """One gate of one layer for one sample, over time.

    - ``clips`` (L,): clip indices, ascending; one zero for a global gate.
    - ``values`` (L, d | 1) float32: every channel of an elementwise gate, else one value per clip. A view
      into the part, valid until the next series is asked for.
    - ``contribution`` (L,) float32: how far the gated branch moves the stream; None where it was not read.
    """

    sample_id: str
    layer: int
    kind: str
    clips: NDArray[np.uint16]
    values: Float32s
    contribution: Float32s | None = None


def read_gates(
    folder: Path,
    number: int,
    *,
    channels: bool = True,
    contribution: bool = False,
    samples: Collection[str] | None = None,
    kind: str | None = None,
) -> pl.DataFrame:
    """Rows of part ``number`` of the run ``folder``: sample_id, layer, gate, clip and value.

    With ``channels`` also ``values``, with ``contribution`` also that, where the part has them.
    ``samples`` (ids) and ``kind`` choose rows. Raises :class:`~gatescope.runtime.errors.RunFolderError` for a
    part that cannot be read.
    """
    extra = {"values": channels, "contribution": contribution}
    asked = [pl.col("sample_id").is_in(list(samples))] if samples is not None else []
    asked += [pl.col("gate") == kind] if kind is not None else []
    path = part_path(folder, number)
    try:
        table = pl.scan_parquet(path, glob=False)
        names = table.collect_schema().names()
        columns = [*ROW_KEYS, "value", *(name for name, wanted in extra.items() if wanted and name in names)]
        return table.filter(*asked).select(columns).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise unreadable_part(path, error) from error


def read_summaries(folder: Path, number: int) -> pl.DataFrame:
    """Rows of part ``number`` of a summary export's table. Raises as :func:`read_gates`."""
    path = part_path(folder, number, SUMMARY_FOLDER)
    try:
        return pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise unreadable_part(path, error) from error


def unreadable_part(path: Path, error: Exception) -> RunFolderError:
    """The error for a part at ``path`` that Polars cannot read."""
    return RunFolderError(
        f"{path} cannot be read: it is missing or damaged",
        received=(str(error) or type(error).__name__).splitlines()[0],
        expected="a Parquet part as 'gatescope run' writes it",
        fix="run the model again into a fresh folder",
    )


def values_of(rows: pl.DataFrame) -> Float32s:
    """The gates of rows of one kind, (rows, d | 1): every channel where they have channels."""
    wide = "values" in rows.columns and rows["values"].null_count() == 0
    values: Float32s = rows["values" if wide else "value"].to_numpy()
    return values.reshape(rows.height, -1 if rows.height else 1)


def stacked(rows: pl.DataFrame) -> Float32s:
    """The gates of rows of one sample and kind, as a copy (layers, L | 1, d | 1)."""
    ordered = rows.sort("layer", "clip")
    layers = max(ordered["layer"].n_unique(), 1)
    # What Polars lends is read-only, and a tracker's arrays are not.
    return np.array(values_of(ordered), np.float32).reshape(layers, rows.height // layers, -1)


def series_of(table: pl.DataFrame) -> Iterator[GateSeries]:
    """Every gate of every sample in ``table``, rows of :func:`read_gates`."""
    if table.height == 0:
        return
    starts = _starts(table)
    if len(starts) != table.n_unique(_GATE):  # a table written in another order than by sample, layer, gate
        table = table.sort(ROW_KEYS)
        starts = _starts(table)
    clips = table["clip"].to_numpy()
    means = table["value"].to_numpy().reshape(-1, 1)
    values = table["values"].to_numpy() if "values" in table.columns else means
    # In a model with gates of both shapes, those without channels have no `values`.
    absent = table["values"].is_null().to_numpy() if "values" in table.columns else np.zeros(len(means), bool)
    ends = [*starts[1:], table.height]
    moved = table["contribution"].to_numpy() if "contribution" in table.columns else None
    heads = table.select(_GATE)[starts].iter_rows()
    for (sample_id, layer, kind), start, end in zip(heads, starts, ends, strict=True):
        own = means if absent[start] else values
        contribution = None if moved is None else moved[start:end]
        yield GateSeries(sample_id, layer, kind, clips[start:end], own[start:end], contribution)


def _starts(table: pl.DataFrame) -> list[int]:
    """The rows at which another sample, layer or gate begins."""
    new = pl.any_horizontal((pl.col(key) != pl.col(key).shift(1)).fill_null(True) for key in _GATE)
    return table.select(new.alias("new"))["new"].arg_true().to_list()
