"""The tables of the chapter: queries ranked by their gates, and the mean of every layer's gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from ..statistics.bootstrap import VideoBootstrap
from ..statistics.subsets import columns_of
from .measures import Measure

#: How many queries of each end are listed.
ENDS = 10


def sample_rankings(joined: pl.DataFrame, measures: list[Measure]) -> pl.DataFrame:
    """``joined`` with a column ``…_rank`` after each measure's own: 1 is the largest, equal values share a
    rank.

    Ordered by the first measure, largest first; queries without one come last.
    """
    ranked = [
        column
        for measure in measures
        for column in (
            pl.col(measure.name),
            pl.col(measure.name).rank("min", descending=True).alias(f"{measure.name}_rank"),
        )
    ]
    own = [name for name in joined.columns if name not in {measure.name for measure in measures}]
    return joined.select(*own, *ranked).sort(
        measures[0].name, descending=True, nulls_last=True, maintain_order=True
    )


def ends_of_ranking(
    joined: pl.DataFrame, measure: str, ends: int = ENDS
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The queries with the largest and the smallest ``measure``, each from the extreme inwards.

    Of fewer than ``2 * ends`` queries, each is in one of them only.
    """
    known = joined.filter(pl.col(measure).is_not_null()).sort(measure, descending=True, maintain_order=True)
    top = known.head(min(ends, (known.height + 1) // 2))
    return top, known.tail(min(ends, known.height // 2)).reverse()


def ranking_document(joined: pl.DataFrame, measures: list[Measure]) -> dict[str, Any]:
    """Top and bottom of every ranking: by statistic, gate (or ``combined``) and layer (or ``all``)."""
    found: dict[str, Any] = {}
    kept = [name for name in ("qid", "vid", "query", "ap", "iou") if name in joined.columns]
    for measure in measures:
        top, bottom = ends_of_ranking(joined, measure.name)
        of_gate = found.setdefault(measure.statistic, {}).setdefault(measure.gate or "combined", {})
        of_gate["all" if measure.layer is None else str(measure.layer)] = {
            name: part.select(*kept, pl.col(measure.name).alias("value")).to_dicts()
            for name, part in (("top", top), ("bottom", bottom))
        }
    return found


def measure_means(joined: pl.DataFrame, measures: Sequence[Measure]) -> pl.DataFrame:
    """The mean of every measure over samples: ``gate, layer, statistic, estimate, low, high``.

    Takes :func:`~gatescope.analysis.queries.measures.query_measures`; queries that share their gates
    count once. Intervals resample videos; ``gate`` and ``layer`` are null where all are together.
    """
    samples = joined.unique("sample_id", keep="first", maintain_order=True)
    bootstrap = VideoBootstrap(samples["vid"].to_list())
    columns = columns_of(samples, [measure.name for measure in measures])
    rows = [
        (measure.gate, measure.layer, measure.statistic, mean.estimate, mean.low, mean.high)
        for measure, mean in zip(measures, bootstrap.means(columns), strict=True)
    ]
    names = dict.fromkeys(("estimate", "low", "high"), pl.Float64)
    schema = {"gate": pl.String, "layer": pl.Int64, "statistic": pl.String, **names}
    return pl.DataFrame(rows, schema=schema, orient="row")


def layer_averages(by_layer: pl.DataFrame, spread: pl.DataFrame, means: pl.DataFrame) -> pl.DataFrame:
    """One row a layer and gate: all its statistics, its spread between and within videos, its intervals.

    Takes ``GateSummary.by_layer``, :func:`~gatescope.analysis.statistics.videos.spread_over_videos` and the
    means of single layers. ``mean_low``, ``mean_high``, ``mean_abs_low``, ``mean_abs_high``: 95 % intervals
    by video of the mean over samples.
    """
    spreads = spread.select(
        "layer",
        "gate",
        pl.col("between").alias("std_between_videos"),
        pl.col("within").alias("std_within_videos"),
    )
    joined = by_layer.join(spreads, on=["layer", "gate"], how="left", maintain_order="left")
    for statistic in ("mean", "mean_abs"):
        own = means.filter(pl.col("statistic") == statistic).select(
            pl.col("layer").cast(pl.UInt8),
            "gate",
            pl.col("low").alias(f"{statistic}_low"),
            pl.col("high").alias(f"{statistic}_high"),
        )
        joined = joined.join(own, on=["layer", "gate"], how="left", maintain_order="left")
    return joined
