"""Values of queries of a subset against the rest, with the interval of the difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from .bootstrap import VideoBootstrap


def subset_differences(values: pl.DataFrame, names: Sequence[str], inside: pl.Series) -> pl.DataFrame:
    """Compares the means of the columns ``names`` over the rows ``inside`` with those over the rest.

    ``values`` has one row a query with its ``vid``; null and NaN are left out. Gives one row a name:
    ``name``; ``subset``, ``rest`` (means) and ``difference``, each with its interval ``…_low``, ``…_high``;
    ``subset_queries`` and ``rest_queries``, how many have a value; ``videos``: of how many videos, of the
    two the smaller number. Intervals are by
    :class:`~gatescope.analysis.statistics.bootstrap.VideoBootstrap`, NaN where there is nothing to estimate.
    """
    bootstrap = VideoBootstrap(values["vid"].to_list())
    chosen = inside.to_numpy()
    rows: list[tuple[object, ...]] = []
    for name in names:
        column = values[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        intervals = (
            bootstrap.mean(np.where(chosen, column, np.nan)),
            bootstrap.mean(np.where(chosen, np.nan, column)),
            bootstrap.subset_difference(column, chosen),
        )
        numbers = [number for one in intervals for number in (one.estimate, one.low, one.high)]
        known = ~np.isnan(column)
        rows.append(
            (
                name,
                *numbers,
                int((known & chosen).sum()),
                int((known & ~chosen).sum()),
                min(intervals[0].videos, intervals[1].videos),
            )
        )
    compared = ("subset", "rest", "difference")
    schema = {
        "name": pl.String,
        **{f"{what}{end}": pl.Float64 for what in compared for end in ("", "_low", "_high")},
        "subset_queries": pl.Int64,
        "rest_queries": pl.Int64,
        "videos": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
