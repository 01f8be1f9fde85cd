"""Gates and how well queries are answered: their correlation, and what the gates of failing queries did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..statistics.bootstrap import Interval, VideoBootstrap
from ..statistics.subsets import columns_of, subset_differences
from .measures import Measure

#: A query fails where the window listed first overlaps the true one by less than this.
FAILING_IOU = 0.5
CORRELATION_METHODS = ("pearson", "spearman")
_SCHEMA: dict[str, Any] = {
    "gate": pl.String,
    "layer": pl.Int64,
    **dict.fromkeys(("statistic", "result", "method"), pl.String),
    **dict.fromkeys(("estimate", "low", "high"), pl.Float64),
    "videos": pl.Int64,
}


def gate_correlations(
    joined: pl.DataFrame, measures: Sequence[Measure], results: Sequence[str]
) -> pl.DataFrame:
    """Correlates every measure with every column of ``results``, over queries.

    ``joined`` has one row a query with its ``vid``. Gives ``gate`` (null: combined), ``layer`` (null: all),
    ``statistic, result, method`` (``pearson`` or ``spearman``), ``estimate, low, high, videos``. Intervals
    resample videos; Spearman's ranks are those of all queries. NaN where a value does not vary.
    """
    bootstrap = VideoBootstrap(joined["vid"].to_list())
    pairs = [(measure, result) for result in results for measure in measures]
    if not pairs:
        return pl.DataFrame(schema=_SCHEMA)
    gates = columns_of(joined, [measure.name for measure, _ in pairs])
    values = columns_of(joined, [result for _, result in pairs])
    both = ~(np.isnan(gates) | np.isnan(values))
    gates, values = np.where(both, gates, np.nan), np.where(both, values, np.nan)
    # Ranks are among the queries that have both values.
    found = zip(
        pairs,
        bootstrap.correlations(gates, values),
        bootstrap.correlations(_ranked(gates), _ranked(values)),
        strict=True,
    )
    rows = [
        (measure.gate, measure.layer, measure.statistic, result, method, *_numbers(interval))
        for (measure, result), *intervals in found
        for method, interval in zip(CORRELATION_METHODS, intervals, strict=True)
    ]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _ranked(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    names = [str(place) for place in range(columns.shape[1])]
    return columns_of(pl.DataFrame(columns, schema=names).fill_nan(None).select(pl.all().rank()), names)


def _numbers(interval: Interval) -> tuple[float, float, float, int]:
    return interval.estimate, interval.low, interval.high, interval.videos


def failing(joined: pl.DataFrame) -> pl.DataFrame:
    """The queries with a result, with ``failed`` (bool): IoU of the first window below 0.5."""
    known = joined.filter(pl.col("iou").is_not_null())
    return known.with_columns(failed=pl.col("iou") < FAILING_IOU)


def gates_of_failing(known: pl.DataFrame, measures: Sequence[Measure]) -> pl.DataFrame:
    """Every measure of the failing queries against the others; takes :func:`failing`.

    The columns are those of :func:`~gatescope.analysis.statistics.subsets.subset_differences`, the subset
    being those that fail.
    """
    return subset_differences(known, [measure.name for measure in measures], known["failed"])


def worst_queries(known: pl.DataFrame, measures: Sequence[Measure]) -> pl.DataFrame:
    """The failing queries, worst first (by ``ap``, then ``iou``), and where their gates stand among all.

    ``…_place`` is the share of queries with a smaller value of the measure, 0 to 1.
    """
    places = [
        ((pl.col(measure.name).rank("min") - 1) / (pl.col(measure.name).count() - 1)).alias(
            f"{measure.name}_place"
        )
        for measure in measures
    ]
    return known.with_columns(places).filter("failed").sort("ap", "iou", maintain_order=True)
