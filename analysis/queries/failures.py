"""Queries that fail, and what their gates did against those of the others."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ..statistics.subsets import subset_differences
from .measures import Measure

#: A query fails where the window listed first overlaps the true one by less than this.
FAILING_IOU = 0.5


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
