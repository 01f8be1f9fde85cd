"""The mean of every layer's gates with its interval, and the table of layers that is written as CSV."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ..statistics.bootstrap import VideoBootstrap
from ..statistics.subsets import columns_of
from .measures import Measure


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
