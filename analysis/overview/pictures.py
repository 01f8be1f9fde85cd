"""Layers and samples in pictures: what the numbers of a table do not show."""

from __future__ import annotations

import polars as pl

from ..figures.kinds import kinds_figure
from ..figures.layers import layer_figure
from ..figures.patterns import pattern_figure
from ..figures.style import png
from ..report.chapter import chapter
from ..report.context import Context
from ..report.section import Section

LAYERS_FIGURE = "layer_distributions.png"
PATTERNS_FIGURE = "activation_patterns.png"
KINDS_FIGURE = "attention_against_ffn.png"
_COLUMNS = 600


@chapter("Layers and samples in pictures")
def pictures_chapter(context: Context) -> Section:
    """Every layer's distribution, every sample's means, and the kinds of gates against each other."""
    summary, subtitle = context.summary, context.subtitle
    patterns = sample_patterns(summary.per_sample)
    figures = {
        LAYERS_FIGURE: png(layer_figure(summary.by_layer, summary.distribution, subtitle)),
        PATTERNS_FIGURE: png(pattern_figure(patterns, summary.ranges, subtitle)),
    }
    if len(summary.kinds) > 1:
        figures[KINDS_FIGURE] = png(kinds_figure(summary.per_sample, subtitle))
    return Section(pictures_chapter.heading, "", figures)


def sample_patterns(per_sample: pl.DataFrame, *, columns: int = _COLUMNS) -> pl.DataFrame:
    """Orders samples by their mean gate and, where there are more than ``columns``, joins neighbours.

    Takes ``GateSummary.per_sample``. One row per ``column`` (from 0), ``layer`` and ``gate``, with ``mean``
    (of the samples' means, NaN where none has one), ``samples`` (how many the column stands for) and
    ``label`` (the sample's id; of joined samples the first). The order, by the mean of the first kind of gate
    over all layers, lowest first, is the same for all kinds: a column is the same samples everywhere.
    """
    first = per_sample["gate"][0]
    level = pl.col("mean").fill_nan(None).filter(pl.col("gate") == first).mean()
    order = (
        per_sample.group_by("sample_id", maintain_order=True)
        .agg(level=level)
        .sort("level", nulls_last=True, maintain_order=True)
        .with_row_index("place")
    )
    total = order.height
    shown = min(total, columns)
    order = order.with_columns(column=(pl.col("place").cast(pl.UInt64) * shown // total).cast(pl.UInt32))
    return (
        per_sample.join(order.select("sample_id", "place", "column"), on="sample_id")
        .sort("place", maintain_order=True)
        .group_by("column", "layer", "gate", maintain_order=True)
        .agg(
            mean=pl.col("mean").fill_nan(None).mean().fill_null(float("nan")),
            samples=pl.len(),
            label=pl.col("sample_id").first(),
        )
    )
