"""The benchmark's metrics of several runs beside each other, and how each differs from the first run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from ..evaluation.metrics import METRICS
from ..statistics.bootstrap import VideoBootstrap
from ..statistics.simultaneous import simultaneous_intervals

_COLUMNS: dict[str, Any] = {
    "run": pl.String,
    "metric": pl.String,
    **dict.fromkeys(("value", "low", "high"), pl.Float64),
    "queries": pl.Int64,
    "videos": pl.Int64,
    **dict.fromkeys(("difference", "difference_low", "difference_high"), pl.Float64),
    "shared_queries": pl.Int64,
    "shared_videos": pl.Int64,
    "told_apart": pl.Boolean,
}


def compare_metrics(evaluated: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """One row a run and metric of the benchmark's ``brief``; percent, differences in points.

    ``evaluated``: by run, its ``Evaluation.per_query``; the first one is what the others are compared with.
    Gives ``run, metric``; ``value`` with its interval by video over the run's own ``queries`` and ``videos``;
    ``difference`` from the first run over the ``shared_queries`` of both, null for the first, with an
    interval that holds together with those of all metrics of this run; and ``told_apart``: whether that
    excludes 0 and rests on enough videos.
    """
    rows: list[dict[str, Any]] = []
    first = next(iter(evaluated.values()), pl.DataFrame())
    for place, (name, per_query) in enumerate(evaluated.items()):
        metrics = [
            metric
            for metric, column in METRICS.items()
            if column in per_query.columns and per_query[column].count() > 0
        ]
        values = _values(per_query, metrics)
        intervals = VideoBootstrap(per_query["vid"].to_list()).means(values)
        differences = _differences(first, per_query) if place else {}
        for at, (metric, interval) in enumerate(zip(metrics, intervals, strict=True)):
            rows.append(
                {
                    "run": name,
                    "metric": metric,
                    "value": interval.estimate,
                    "low": interval.low,
                    "high": interval.high,
                    "queries": int((~np.isnan(values[:, at])).sum()),
                    "videos": interval.videos,
                    **differences.get(metric, {}),
                }
            )
    return pl.DataFrame(rows, schema=_COLUMNS)


def _differences(first: pl.DataFrame, own: pl.DataFrame) -> dict[str, dict[str, Any]]:
    both = own.select("qid", "vid").join(first.select("qid"), on="qid", how="semi", maintain_order="left")
    metrics = [name for name, column in METRICS.items() if {column} <= {*first.columns} & {*own.columns}]
    if both.is_empty() or not metrics:
        return {}
    one, other = (
        _values(both.join(table.drop("vid"), on="qid", how="left", maintain_order="left"), metrics)
        for table in (first, own)
    )
    columns = other - one
    bootstrap = VideoBootstrap(both["vid"].to_list())
    alone = bootstrap.means(columns)
    together = simultaneous_intervals(
        [each.estimate for each in alone], bootstrap.drawn_means(columns), [each.videos for each in alone]
    )
    return {
        metric: {
            "difference": each.estimate,
            "difference_low": each.low,
            "difference_high": each.high,
            "shared_queries": int((~np.isnan(columns[:, at])).sum()),
            "shared_videos": each.videos,
            "told_apart": each.told_apart,
        }
        for at, (metric, each) in enumerate(zip(metrics, together, strict=True))
    }


def _values(per_query: pl.DataFrame, metrics: list[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(queries, metrics) in percent, NaN where a query has none."""
    chosen = per_query.select(pl.col(METRICS[name]).cast(pl.Float64).alias(name) for name in metrics)
    return 100 * chosen.fill_null(np.nan).to_numpy()
