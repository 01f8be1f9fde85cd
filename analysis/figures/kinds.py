"""``attention_against_ffn.png``: how the kinds of gate of the same sample go together, layer by layer."""

from __future__ import annotations

import math

import polars as pl
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, NullFormatter

from .style import QUIET, Figure, grid, heading, kind_colour, kind_name, new_figure, style

#: With more samples than this, points hide each other: hexagons count them.
_POINTS = 400
_COLUMNS = 4


def kinds_figure(per_sample: pl.DataFrame, subtitle: str) -> Figure:
    """One panel a layer, one point a sample: the mean of the first kind against that of the second.

    Takes ``GateSummary.per_sample`` of a model with two kinds of gate or more. All panels are on the same
    scale; of more than 400 samples, hexagons on one scale of colour say how many lie where.
    """
    kinds = per_sample["gate"].unique(maintain_order=True).to_list()[:2]
    x, y = (per_sample.filter(pl.col("gate") == kind) for kind in kinds)
    both = (
        x.select("sample_id", "layer", x="mean")
        .join(y.select("sample_id", "layer", y="mean"), on=["sample_id", "layer"])
        .filter(pl.col("x").is_finite(), pl.col("y").is_finite())
    )
    layers = sorted(per_sample["layer"].unique().to_list())
    columns = min(_COLUMNS, len(layers))
    rows = math.ceil(len(layers) / columns)
    dense = both["sample_id"].n_unique() > _POINTS
    limits = _limits(both["x"]), _limits(both["y"])
    with style():
        figure = new_figure(1.2 + 2.7 * max(columns, 2), 1.2 + 2.6 * rows)
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        drawn: list[object] = []
        for axes, layer in zip(panels.flat, layers, strict=False):
            own = both.filter(pl.col("layer") == layer)
            axes.axhline(0, color=QUIET, linewidth=0.8, zorder=1)
            axes.axvline(0, color=QUIET, linewidth=0.8, zorder=1)
            if dense:
                drawn.append(
                    axes.hexbin(
                        own["x"].to_numpy(),
                        own["y"].to_numpy(),
                        gridsize=28,
                        extent=(*limits[0], *limits[1]),
                        mincnt=1,
                        cmap="cividis_r",
                        linewidths=0.2,
                    )
                )
            else:
                axes.scatter(
                    own["x"], own["y"], s=14, color=kind_colour(kinds, kinds[0]), alpha=0.55, linewidth=0
                )
            axes.set(xlim=limits[0], ylim=limits[1])
            axes.set_title(f"layer {layer}")
            grid(axes)
        for axes in panels.flat[len(layers) :]:
            axes.set_visible(False)
        for axes in panels[:, 0]:
            axes.set_ylabel(f"{kind_name(kinds[1])}, mean")
        for axes in panels.flat[max(0, len(layers) - columns) : len(layers)]:
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(f"{kind_name(kinds[0])}, mean")
        if drawn:
            most = max(float(one.get_array().max()) for one in drawn)  # type: ignore[attr-defined]
            for one in drawn:
                one.set_norm(LogNorm(1, max(most, 2)))  # type: ignore[attr-defined]
            bar = figure.colorbar(drawn[0], ax=panels, pad=0.01, aspect=30)  # type: ignore[arg-type]
            bar.set_label("samples in a hexagon")
            # Matplotlib writes powers of ten as formulas, which the house style does not read.
            bar.ax.yaxis.set_major_formatter(FuncFormatter(_plain_count))
            bar.ax.yaxis.set_minor_formatter(NullFormatter())
            bar.outline.set_visible(False)  # type: ignore[operator]
        what = "Hexagons count samples." if dense else "One point a sample."
        heading(figure, f"{kind_name(kinds[0])} against {kind_name(kinds[1])}", f"{what} {subtitle}")
    return figure


def _plain_count(count: float, _: int | None) -> str:
    return f"{count:g}"


def _limits(values: pl.Series) -> tuple[float, float]:
    shown = values.to_list()
    low, high = min([0.0, *shown]), max([0.0, *shown])
    room = 0.06 * (high - low) or 0.05
    return low - room, high + room
