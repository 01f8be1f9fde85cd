"""``layer_distributions.png``: the distribution of every layer's gates on shared axes."""

from __future__ import annotations

import polars as pl

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


def layer_figure(by_layer: pl.DataFrame, distribution: pl.DataFrame, subtitle: str) -> Figure:
    """One row a layer, one column a kind of gate; takes the frames of ``GateSummary``."""
    kinds = by_layer["gate"].unique(maintain_order=True).to_list()
    layers = by_layer["layer"].unique(maintain_order=True).to_list()
    with style():
        figure = new_figure(1.4 + 4.6 * len(kinds), 1.3 + 1.45 * len(layers))
        panels = figure.subplots(len(layers), len(kinds), squeeze=False, sharex="col", sharey=True)
        for row, layer in zip(panels, layers, strict=True):
            for axes, kind in zip(row, kinds, strict=True):
                here = (pl.col("layer") == layer) & (pl.col("gate") == kind)
                bins = distribution.filter(here)
                for numbers in by_layer.filter(here & (pl.col("count") > 0)).iter_rows(named=True):
                    shares = (bins["count"] / max(int(bins["count"].sum()), 1)).to_list()
                    edges = [*bins["low"].to_list(), bins["high"][-1]]
                    axes.stairs(shares, edges, fill=True, color=kind_colour(kinds, kind), alpha=0.85)
                    axes.axvline(numbers["mean"], color=INK, linewidth=1.3)
                    axes.axvline(numbers["median"], color=INK, linewidth=1.3, linestyle=(0, (4, 2)))
                    axes.text(
                        0.015,
                        0.94,
                        f"mean {signed(numbers['mean'])}   std {numbers['std']:.3f}\n"
                        f"|g| {numbers['mean_abs']:.3f}   positive {numbers['share_positive']:.0%}",
                        transform=axes.transAxes,
                        va="top",
                        fontsize=8,
                        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5},
                    )
                axes.axvline(0, color=QUIET, linewidth=0.8, zorder=0)
                axes.set_xlim(bins["low"].min(), bins["high"].max())  # type: ignore[arg-type]
                grid(axes, "y")
            row[0].set_ylabel(f"layer {layer}", fontweight="bold")
        for axes, kind in zip(panels[0], kinds, strict=True):
            axes.set_title(kind_name(kind))
            percent_axis(axes.yaxis)
        for axes in panels[-1]:
            axes.set_xlabel("gate value")
        heading(
            figure,
            "Distribution of gates, layer by layer",
            f"Share of values in each of 64 bins. Solid line: mean, dashed: median. {subtitle}",
        )
    return figure
