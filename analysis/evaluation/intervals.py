"""The uncertainty of metrics, and how they differ between a subset of the queries and the rest."""

from __future__ import annotations

import numpy as np
import polars as pl

from ..statistics.bootstrap import VideoBootstrap
from ..statistics.subsets import columns_of, subset_differences
from .metrics import METRICS

_NUMBERS = pl.selectors.float()


def metric_intervals(per_query: pl.DataFrame) -> pl.DataFrame:
    """One row a metric of ``brief``: ``metric, value, low, high`` (percent), ``queries``, ``videos``.

    Takes ``Evaluation.per_query``. Intervals resample videos with all their queries.
    """
    bootstrap = VideoBootstrap(per_query["vid"].to_list())
    metrics = [metric for metric, column in METRICS.items() if column in per_query.columns]
    columns = 100 * columns_of(per_query, [METRICS[metric] for metric in metrics])
    rows = [
        (metric, found.estimate, found.low, found.high, int(known), found.videos)
        for metric, found, known in zip(
            metrics, bootstrap.means(columns), (~np.isnan(columns)).sum(axis=0), strict=True
        )
    ]
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
