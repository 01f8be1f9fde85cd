"""``gate_clustering.png``: samples by their gates' principal components, and what their groups differ in."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from matplotlib.axes import Axes

from .style import MARKERS, QUIET, Figure, grid, heading, kind_name, new_figure, series_colour, short, style

_NAMED = 12  # points beside which there is room for a name


def clustering_figure(
    points: pl.DataFrame, explained: Sequence[float], profiles: pl.DataFrame, subtitle: str
) -> Figure:
    """Left the samples, right the mean gates of every group, one panel a kind of gate on the same scale.

    Takes the fields of :class:`~gatescope.analysis.clustering.clusters.Clusters`.
    """
    kinds = profiles["gate"].unique(maintain_order=True).to_list()
    clusters: list[int] = points["cluster"].unique().sort().to_list()
    with style():
        figure = new_figure(6.2 + 3.4 * max(len(kinds), 1), 4.8)
        panels = figure.subplots(1, 1 + len(kinds), squeeze=False, width_ratios=[1.75, *[1] * len(kinds)])[0]
        _draw_points(panels[0], points, clusters, explained)
        for axes, kind in zip(panels[1:], kinds, strict=True):
            if axes is not panels[1]:
                axes.sharey(panels[1])
            _draw_profiles(axes, profiles.filter(pl.col("gate") == kind), clusters)
            axes.set_title(kind_name(kind))
        if len(kinds):
            panels[1].set_ylabel("mean gate of the group")
        heading(figure, "Samples grouped by their gates", subtitle)
    return figure


def _draw_points(
    axes: Axes, points: pl.DataFrame, clusters: Sequence[int], explained: Sequence[float]
) -> None:
    many = points.height > 300
    for cluster in clusters:
        own = points.filter(pl.col("cluster") == cluster)
        name = f"group {cluster + 1}: {own.height:,}" if len(clusters) > 1 else f"all: {own.height:,}"
        axes.scatter(
            own["x"],
            own["y"],
            s=12 if many else 36,
            color=series_colour(cluster),
            marker=MARKERS[cluster % len(MARKERS)],
            alpha=0.55 if many else 0.9,
            linewidths=0,
            label=name,
        )
    if points.height <= _NAMED:
        for row in points.iter_rows(named=True):
            axes.annotate(
                short(row["sample_id"], 14), (row["x"], row["y"]), xytext=(4, 4), textcoords="offset points",
                fontsize=7.5,
            )  # fmt: skip
    axes.axhline(0, color=QUIET, linewidth=0.6, zorder=0)
    axes.axvline(0, color=QUIET, linewidth=0.6, zorder=0)
    shares = [f" ({share:.0%} of the variance)" for share in explained[:2]]
    axes.set_xlabel("first principal component" + (shares[0] if shares else ""))
    axes.set_ylabel("second principal component" + (shares[1] if len(shares) > 1 else ""))
    axes.margins(0.09)
    axes.set_aspect("equal", adjustable="datalim")  # a component of little variance looks like it
    if points.height:
        axes.legend(loc="best", markerscale=1.4 if many else 1.0)
    grid(axes)


def _draw_profiles(axes: Axes, profiles: pl.DataFrame, clusters: Sequence[int]) -> None:
    for cluster in clusters:
        own = profiles.filter(pl.col("cluster") == cluster).sort("layer")
        axes.plot(
            own["layer"],
            own["mean"],
            color=series_colour(cluster),
            marker=MARKERS[cluster % len(MARKERS)],
            linewidth=1.5,
        )
    layers = profiles["layer"].unique().sort().to_list()
    axes.set_xticks(layers[:: 1 + len(layers) // 10])
    axes.set_xlabel("layer")
    axes.axhline(0, color=QUIET, linewidth=0.8, zorder=0)
    axes.margins(x=0.1)
    grid(axes, "y")
