"""The uncertainty of metrics, and how they differ between a subset of the queries and the rest."""

from __future__ import annotations

import numpy as np
import polars as pl

from ..statistics.bootstrap import VideoBootstrap
from ..statistics.subsets import subset_differences
from .metrics import METRICS

_NUMBERS = pl.selectors.float()


def metric_intervals(per_query: pl.DataFrame) -> pl.DataFrame:
    """One row a metric of ``brief``: ``metric, value, low, high`` (percent), ``queries``, ``videos``.

    Takes ``Evaluation.per_query``. Intervals resample videos with all their queries.
    """
    bootstrap = VideoBootstrap(per_query["vid"].to_list())
    rows: list[tuple[object, ...]] = []
    for metric, column in METRICS.items():
        if column in per_query.columns:
            values = 100 * per_query[column].fill_null(np.nan).to_numpy()
            found = bootstrap.mean(values)
            known = int((~np.isnan(values)).sum())
            rows.append((metric, found.estimate, found.low, found.high, known, found.videos))
    schema = {
        "metric": pl.String,
        **dict.fromkeys(("value", "low", "high"), pl.Float64),
        **dict.fromkeys(("queries", "videos"), pl.Int64),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def subset_metrics(per_query: pl.DataFrame, subset: frozenset[str]) -> pl.DataFrame:
    """Every metric of ``brief`` for the queries of ``subset`` against the rest, in percent (points).

    The columns are those of :func:`~gatescope.analysis.statistics.subsets.subset_differences`, ``name``
    being the metric.
    """
    columns = {column: metric for metric, column in METRICS.items() if column in per_query.columns}
    inside = per_query["qid"].is_in(list(subset))
    compared = subset_differences(per_query, list(columns), inside)
    return compared.with_columns(_NUMBERS * 100, pl.col("name").replace_strict(columns))
