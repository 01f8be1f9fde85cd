"""Whether queries whose gates are larger are answered better: correlation of gates with results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from ..statistics.bootstrap import VideoBootstrap
from .measures import Measure

METHODS = ("pearson", "spearman")


def gate_correlations(
    joined: pl.DataFrame, measures: Sequence[Measure], results: Sequence[str]
) -> pl.DataFrame:
    """Correlates every measure with every column of ``results``, over queries.

    ``joined`` has one row a query with its ``vid``. Gives ``gate`` (null: combined), ``layer`` (null: all),
    ``statistic, result, method`` (``pearson`` or ``spearman``), ``estimate, low, high, videos``. Intervals
    resample videos; Spearman's ranks are those of all queries. NaN where a value does not vary.
    """
    bootstrap = VideoBootstrap(joined["vid"].to_list())
    rows: list[tuple[object, ...]] = []
    for result in results:
        for measure in measures:
            both = joined.select(
                # Ranks among the queries that have both values.
                *(
                    pl.when(pl.col(measure.name).is_not_null() & pl.col(result).is_not_null())
                    .then(pl.col(name))
                    .alias(place)
                    for place, name in (("gate", measure.name), ("result", result))
                )
            )
            for method in METHODS:
                compared = both if method == "pearson" else both.select(pl.all().rank())
                gate, value = (compared[name].cast(pl.Float64).fill_null(np.nan) for name in both.columns)
                found = bootstrap.correlation(gate.to_numpy(), value.to_numpy())
                key = (measure.gate, measure.layer, measure.statistic, result, method)
                rows.append((*key, found.estimate, found.low, found.high, found.videos))
    return pl.DataFrame(
        rows,
        schema={
            "gate": pl.String,
            "layer": pl.Int64,
            **dict.fromkeys(("statistic", "result", "method"), pl.String),
            **dict.fromkeys(("estimate", "low", "high"), pl.Float64),
            "videos": pl.Int64,
        },
        orient="row",
    )
