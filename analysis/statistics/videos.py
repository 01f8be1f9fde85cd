"""How gates differ between videos and within them; the video, not the clip or the query, is the unit."""

from __future__ import annotations

import polars as pl


def videos_of(samples: pl.DataFrame) -> pl.DataFrame:
    """One row a ``sample_id`` with its ``vid``, from a run's samples; queries may share a sample."""
    return samples.select("sample_id", "vid").unique("sample_id", keep="first", maintain_order=True)


def spread_over_videos(per_sample: pl.DataFrame, videos: pl.DataFrame) -> pl.DataFrame:
    """Splits the spread of every gate into a part between and a part within videos.

    Takes ``GateSummary.per_sample`` and :func:`videos_of`; a sample without a video counts as its own. Gives
    one row a ``layer`` and ``gate``: ``videos``; ``lowest``, ``highest``: the smallest and largest mean of a
    video; ``between``: standard deviation of the videos' means; ``within``: the root of the mean variance
    around them. Both are of the population, every video weighing the same.
    """
    by_video = (
        per_sample.filter(pl.col("count") > 0)
        .join(videos, on="sample_id", how="left")
        .with_columns(pl.col("vid").fill_null(pl.col("sample_id")))
        .group_by("vid", "layer", "gate", maintain_order=True)
        .agg(
            mean=pl.col("mean").mean(),
            # Queries of one video weigh the same; their own means may differ where gates depend on the text.
            variance=(pl.col("std") ** 2).mean() + pl.col("mean").var(ddof=0),
        )
    )
    return (
        by_video.group_by("layer", "gate", maintain_order=True)
        .agg(
            videos=pl.len(),
            lowest=pl.col("mean").min(),
            highest=pl.col("mean").max(),
            between=pl.col("mean").std(ddof=0),
            within=pl.col("variance").mean().sqrt(),
        )
        .sort("layer", "gate")
    )
