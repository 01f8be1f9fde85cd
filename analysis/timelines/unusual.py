"""Samples whose gates lie far from those of the rest."""

from __future__ import annotations

import polars as pl

#: Beyond this many robust standard deviations a sample is called unusual (Iglewicz and Hoaglin, 1993).
FAR = 3.5
# The median absolute deviation of a normal distribution is 1 / this of its standard deviation.
_NORMAL = 1.4826
# A gate that hardly varies would make any sample unusual; no figure shows a difference below this.
_LEAST_SPREAD = 5e-3


def unusual_samples(per_sample: pl.DataFrame) -> pl.DataFrame:
    """Samples with a mean gate beyond :data:`FAR`, the most unusual first.

    Takes ``GateSummary.per_sample``. One row a ``sample_id`` with the ``layer`` and ``gate`` in which it is
    most unusual: ``mean`` (its own), ``middle`` (the samples' median) and ``distance`` = |mean − middle| /
    (1.4826 · median |mean − middle|).
    """
    gate = ["layer", "gate"]
    off = (pl.col("mean") - pl.col("middle")).abs()
    spread = pl.max_horizontal(_NORMAL * off.median().over(gate), pl.lit(_LEAST_SPREAD))
    return (
        per_sample.filter(pl.col("count") > 0)
        .with_columns(middle=pl.col("mean").median().over(gate))
        .with_columns(distance=off / spread)
        .filter(pl.col("distance") > FAR)
        .sort("distance", descending=True, maintain_order=True)
        .unique("sample_id", keep="first", maintain_order=True)
        .select("sample_id", *gate, "mean", "middle", "distance")
    )
