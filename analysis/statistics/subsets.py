"""Values of queries of a subset against the rest, with the interval of the difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .bootstrap import VideoBootstrap
from .simultaneous import simultaneous_intervals


def subset_differences(values: pl.DataFrame, names: Sequence[str], inside: pl.Series) -> pl.DataFrame:
    """Compares the means of the columns ``names`` over the rows ``inside`` with those over the rest.

    ``values`` has one row a query with its ``vid``; null and NaN are left out. Gives one row a name:
    ``name``; ``subset``, ``rest`` (means) and ``difference``, each with its interval ``…_low``, ``…_high``;
    ``subset_queries`` and ``rest_queries``, how many have a value; ``videos``: of how many videos, of the
    two the smaller number; ``told_apart``: whether the difference can be called one
    (:func:`~gatescope.analysis.statistics.bootstrap.told_apart`). Intervals are by
    :class:`~gatescope.analysis.statistics.bootstrap.VideoBootstrap`, NaN where there is nothing to estimate;
    those of the differences hold for all ``names`` at once, since many are looked at.
    """
    bootstrap = VideoBootstrap(values["vid"].to_list())
    chosen = inside.to_numpy()
    columns = columns_of(values, names)
    one = np.where(chosen[:, None], columns, np.nan)
    rest = np.where(chosen[:, None], np.nan, columns)
    within, without = bootstrap.means(one), bootstrap.means(rest)
    differences = simultaneous_intervals(
        [each.estimate for each in bootstrap.subset_differences(columns, chosen)],
        bootstrap.drawn_means(one) - bootstrap.drawn_means(rest),
        [min(own.videos, others.videos) for own, others in zip(within, without, strict=True)],
    )
    found = zip(
        names,
        within,
        without,
        differences,
        (~np.isnan(one)).sum(axis=0).tolist(),
        (~np.isnan(rest)).sum(axis=0).tolist(),
        strict=True,
    )
    rows = [
        (
            name,
            *(number for part in (own, others, both) for number in (part.estimate, part.low, part.high)),
            inside_count,
            rest_count,
            both.videos,
            both.told_apart,
        )
        for name, own, others, both, inside_count, rest_count in found
    ]
    compared = ("subset", "rest", "difference")
    schema = {
        "name": pl.String,
        **{f"{what}{end}": pl.Float64 for what in compared for end in ("", "_low", "_high")},
        "subset_queries": pl.Int64,
        "rest_queries": pl.Int64,
        "videos": pl.Int64,
        "told_apart": pl.Boolean,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def columns_of(values: pl.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    """The columns ``names`` as (rows, k) float64, null as NaN."""
    return np.stack([values[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in names], axis=1)
