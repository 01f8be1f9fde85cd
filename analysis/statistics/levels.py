"""Every gate's level with the interval that the videos allow."""

from __future__ import annotations

import math

import polars as pl

from .bootstrap import Interval, VideoBootstrap
from .rows import Rows

_SCHEMA = {
    "layer": pl.UInt8,
    "gate": pl.String,
    **{f"{of}{end}": pl.Float64 for of in ("mean", "mean_abs") for end in ("", "_low", "_high")},
}


def gate_levels(per_sample: pl.DataFrame, videos: pl.DataFrame) -> pl.DataFrame:
    """The mean over samples of their ``mean`` and ``mean_abs``, each with ``_low`` and ``_high``.

    Takes ``GateSummary.per_sample`` and ``sample_id, vid``. One row a ``gate`` and ``layer``; ``layer`` is null in
    the row over all layers, where each sample has the mean of its layers. NaN where there is nothing to estimate
    or fewer than two videos.
    """
    rows = Rows(_SCHEMA)
    bootstrap = VideoBootstrap(videos["vid"].to_list())
    finite = per_sample.filter(pl.col("count") > 0)
    for kind in per_sample["gate"].unique(maintain_order=True).to_list():
        of_kind = finite.filter(pl.col("gate") == kind)
        layers = sorted(per_sample.filter(pl.col("gate") == kind)["layer"].unique().to_list())
        for layer in [*layers, None]:
            own = of_kind if layer is None else of_kind.filter(pl.col("layer") == layer)
            means = own.group_by("sample_id").agg(pl.col("mean").mean(), pl.col("mean_abs").mean())
            placed = videos.join(means, on="sample_id", how="left", maintain_order="left")
            intervals = [
                bootstrap.mean(placed[of].fill_null(math.nan).to_numpy()) for of in ("mean", "mean_abs")
            ]
            rows.append((layer, kind, *(end for one in intervals for end in _ends(one))))
    return rows.frame()


def _ends(one: Interval) -> tuple[float, float, float]:
    return one.estimate, one.low, one.high
