"""The gates of several runs beside each other, layer by layer, and how each differs from the first run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..statistics.bootstrap import VideoBootstrap
from ..statistics.simultaneous import simultaneous_intervals
from ..statistics.summary import GateSummary

#: Of these the mean over videos is compared.
COMPARED = ("mean", "mean_abs")

_COLUMNS: dict[str, Any] = {
    "run": pl.String,
    "gate": pl.String,
    "layer": pl.Int64,
    "statistic": pl.String,
    **dict.fromkeys(("value", "low", "high"), pl.Float64),
    "videos": pl.Int64,
    **dict.fromkeys(("difference", "difference_low", "difference_high"), pl.Float64),
    "shared_videos": pl.Int64,
    "told_apart": pl.Boolean,
}

Columns = dict[tuple[str, int, str], NDArray[np.float64]]


def compare_gates(
    names: Sequence[str], summaries: Sequence[GateSummary], videos: Sequence[pl.DataFrame]
) -> pl.DataFrame:
    """One row a run, gate, layer and statistic.

    ``videos`` is :func:`~gatescope.analysis.statistics.videos.videos_of` of each run. Gives ``run, gate,
    layer, statistic``; ``value``, the mean over the run's videos, with its interval ``low``, ``high`` and
    ``videos``; ``difference`` from the first run over the ``shared_videos`` of both, null for the first run
    and for gates that it lacks, with an interval that holds together with those of all gates of this run; and
    ``told_apart``: whether that excludes 0 and rests on enough videos. Every video weighs the same, however
    many queries it has.
    """
    tables = [_by_video(summary, own) for summary, own in zip(summaries, videos, strict=True)]
    rows: list[dict[str, Any]] = []
    for place, (name, table) in enumerate(zip(names, tables, strict=True)):
        columns = _columns(table)
        differences = _differences(tables[0], table) if place else {}
        bootstrap = VideoBootstrap(table["vid"].to_list())
        intervals = bootstrap.means(np.stack(list(columns.values()), axis=1))
        for key, interval in zip(columns, intervals, strict=True):
            rows.append(
                {
                    "run": name,
                    **dict(zip(("gate", "layer", "statistic"), key, strict=True)),
                    "value": interval.estimate,
                    "low": interval.low,
                    "high": interval.high,
                    "videos": interval.videos,
                    **differences.get(key, {}),
                }
            )
    return pl.DataFrame(rows, schema=_COLUMNS)


def _by_video(summary: GateSummary, videos: pl.DataFrame) -> pl.DataFrame:
    """One row a video, one column a gate, layer and statistic, ``gate/layer/statistic``; queries averaged."""
    order = {kind: place for place, kind in enumerate(summary.kinds)}
    rows = summary.per_sample.filter(pl.col("count") > 0).join(videos, on="sample_id", how="left")
    rows = rows.with_columns(pl.col("vid").fill_null(pl.col("sample_id")))
    tables = [
        own.group_by("vid", maintain_order=True).agg(
            pl.col(name).mean().alias(f"{kind}/{layer}/{name}") for name in COMPARED
        )
        for (kind, layer), own in sorted(
            rows.group_by("gate", "layer", maintain_order=True),
            key=lambda item: (order[str(item[0][0])], item[0][1]),
        )
    ]
    joined = rows.select("vid").unique(maintain_order=True)
    for table in tables:
        joined = joined.join(table, on="vid", how="left", maintain_order="left")
    return joined


def _columns(table: pl.DataFrame) -> Columns:
    columns: Columns = {}
    for name in table.columns[1:]:
        kind, layer, statistic = name.rsplit("/", 2)
        columns[kind, int(layer), statistic] = table[name].fill_null(np.nan).to_numpy()
    return columns


def _differences(first: pl.DataFrame, own: pl.DataFrame) -> dict[tuple[str, int, str], dict[str, Any]]:
    """How the gates of ``own`` differ from those of ``first``, over the videos and gates that both have."""
    both = own.select("vid").join(first.select("vid"), on="vid", how="semi", maintain_order="left")
    if both.is_empty():
        return {}
    one, other = (
        _columns(both.join(table, on="vid", how="left", maintain_order="left")) for table in (first, own)
    )
    keys = [key for key in other if key in one]
    if not keys:
        return {}
    columns = np.stack([other[key] - one[key] for key in keys], axis=1)
    bootstrap = VideoBootstrap(both["vid"].to_list())
    alone = bootstrap.means(columns)
    together = simultaneous_intervals(
        [each.estimate for each in alone], bootstrap.drawn_means(columns), [each.videos for each in alone]
    )
    return {
        key: {
            "difference": each.estimate,
            "difference_low": each.low,
            "difference_high": each.high,
            "shared_videos": each.videos,
            "told_apart": each.told_apart,
        }
        for key, each in zip(keys, together, strict=True)
    }
