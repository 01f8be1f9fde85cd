"""A statistic of every sample as an array: samples down, gates across."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray


def wide(
    per_sample: pl.DataFrame, column: str, samples: Sequence[str], keys: Sequence[tuple[int, str]]
) -> NDArray[np.float64]:
    """``column`` of ``GateSummary.per_sample``, (samples, gates) by ``samples`` and ``keys`` (layer, kind).

    NaN where a sample has no such gate.
    """
    table: NDArray[np.float64] = np.full((len(samples), len(keys)), np.nan)
    rows = pl.DataFrame({"sample_id": samples}).with_row_index("row")
    columns = pl.DataFrame(
        [(layer, kind, place) for place, (layer, kind) in enumerate(keys)],
        schema={"layer": pl.UInt8, "gate": pl.String, "column": pl.UInt32},
        orient="row",
    )
    placed = per_sample.join(rows, on="sample_id").join(columns, on=["layer", "gate"])
    table[placed["row"].to_numpy(), placed["column"].to_numpy()] = placed[column].to_numpy()
    return table


def row_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of every row (n, k) over what is finite in it; NaN where nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=1) / known.sum(axis=1)
