"""``overall_statistics.png``: the distribution of all gates, and every layer's level and spread."""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.axes import Axes

from .style import (
    INK,
    QUIET,
    Figure,
    grid,
    heading,
    kind_colour,
    kind_name,
    new_figure,
    percent_axis,
    signed,
    style,
)

_TICKS = 16  # as many layers can be named side by side


def overall_figure(
    overall: pl.DataFrame, by_layer: pl.DataFrame, distribution: pl.DataFrame, subtitle: str
) -> Figure:
    """One row a kind of gate: left its distribution over all layers, right its level per layer.

    Takes the frames of :class:`~gatescope.analysis.statistics.summary.GateSummary`; ``subtitle`` says what
    they are of.
    """
    kinds = overall["gate"].to_list()
    with style():
        figure = new_figure(11, 0.9 + 3.3 * len(kinds))
        panels = figure.subplots(
            len(kinds), 2, width_ratios=[1.25, 1], squeeze=False, sharex="col", sharey="col"
        )
        for (left, right), row in zip(panels, overall.iter_rows(named=True), strict=True):
            kind = row["gate"]
            colour = kind_colour(kinds, kind)
            _draw_distribution(left, row, distribution.filter(pl.col("gate") == kind), colour)
            _draw_levels(right, by_layer.filter(pl.col("gate") == kind), colour)
            left.set_title(f"{kind_name(kind)}: all layers")
            right.set_title(f"{kind_name(kind)}: by layer")
        for axes in panels[:-1].flat:
            axes.tick_params(labelbottom=True)
        panels[-1][0].set_xlabel("gate value")
        panels[-1][1].set_xlabel("layer")
        heading(figure, "Gates at a glance", subtitle)
    return figure


def _draw_distribution(axes: Axes, row: dict[str, Any], bins: pl.DataFrame, colour: str) -> None:
    summed = bins.group_by("low", "high", maintain_order=True).agg(pl.col("count").sum())
    total = max(int(summed["count"].sum()), 1)
    edges = [*summed["low"].to_list(), summed["high"][-1]]
    axes.stairs((summed["count"] / total).to_list(), edges, fill=True, color=colour, alpha=0.85)
    axes.axvline(0, color=QUIET, linewidth=0.8)
    if row["count"]:
        axes.axvline(row["mean"], color=INK, linewidth=1.4, label=f"mean {signed(row['mean'])}")
        axes.axvline(
            row["median"],
            color=INK,
            linewidth=1.4,
            linestyle=(0, (4, 2)),
            label=f"median {signed(row['median'])}",
        )
        axes.axvspan(row["p25"], row["p75"], color=INK, alpha=0.1, linewidth=0, zorder=0, label="middle half")
        axes.legend(loc="best")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylabel("share of values")
    percent_axis(axes.yaxis)
    grid(axes, "y")


def _draw_levels(axes: Axes, layers: pl.DataFrame, colour: str) -> None:
    shown = layers.filter(pl.col("count") > 0)
    at = shown["layer"].to_list()
    axes.axhline(0, color=QUIET, linewidth=0.8)
    axes.vlines(
        at, shown["min"], shown["max"], color=colour, linewidth=1.2, alpha=0.6, label="lowest to highest"
    )
    axes.vlines(at, shown["p25"], shown["p75"], color=colour, linewidth=9, alpha=0.35, label="middle half")
    axes.plot(at, shown["mean"], "o-", color=colour, linewidth=1.2, markersize=6, label="mean")
    axes.plot(
        at, shown["mean_abs"], "D", color=colour, markerfacecolor="white", markersize=5, label="mean |g|"
    )
    axes.set_ylabel("gate value")
    every = layers["layer"].to_list()
    axes.set_xticks(every[:: 1 + len(every) // _TICKS])
    axes.set_xlim(every[0] - 0.6, every[-1] + 0.6)
    axes.margins(y=0.22)  # the legend stands above the data
    grid(axes, "y")
    axes.legend(loc="upper left", ncols=4, fontsize=8, handlelength=1.4, columnspacing=1.2)
