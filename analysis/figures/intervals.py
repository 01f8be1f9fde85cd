"""Estimates with their intervals, row by row: correlations, agreements, differences."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
from matplotlib.axes import Axes

from ..statistics.bootstrap import FEW_VIDEOS, told_apart
from .style import INK, QUIET, Figure, grid, heading, kind_colour, new_figure, short, style


def interval_figure(
    estimates: pl.DataFrame, title: str, subtitle: str, *, centre: float = 0.0, axis: str = ""
) -> Figure:
    """One panel a ``panel``, one line a ``label`` within its ``gate``, the same lines in all panels.

    ``estimates``: ``panel, gate, label, estimate, low, high, videos``; ``gate`` is a kind of gate, or null.
    NaN estimates are called none, NaN intervals not drawn. Points whose interval excludes ``centre``, no
    effect, are filled, unless it rests on too few videos. All panels share their horizontal axis, which
    ``axis`` names.
    """
    panels = estimates["panel"].unique(maintain_order=True).to_list()
    gates = estimates["gate"].unique(maintain_order=True).to_list()
    kinds = [gate for gate in gates if gate is not None]
    place: dict[tuple[str | None, str], float] = {}
    for number, line in enumerate(estimates.select("gate", "label").unique(maintain_order=True).rows()):
        place[line] = number + 0.6 * gates.index(line[0])  # a gap between kinds
    with style():
        width = max(7.6, 2.2 + 2.7 * len(panels))
        figure = new_figure(width, 1.5 + 0.24 * (max(place.values()) + 1))
        drawn = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
        for axes, panel in zip(drawn, panels, strict=True):
            axes.axvline(centre, color=QUIET, linewidth=0.9, zorder=1)
            for row in estimates.filter(pl.col("panel") == panel).iter_rows(named=True):
                colour = INK if row["gate"] is None else kind_colour(kinds, row["gate"])
                _point(axes, row, place[row["gate"], row["label"]], colour, centre)
            axes.set_title(short(panel, 34))
            axes.set_xlabel(axis)
            axes.tick_params(axis="y", length=0)
            grid(axes, "x")
        drawn[0].set_yticks(list(place.values()), [short(label, 30) for _, label in place])
        drawn[0].set_ylim(max(place.values()) + 0.7, -0.7)
        few = estimates["videos"].max() < FEW_VIDEOS  # type: ignore[operator]
        told = (
            f"None is filled: intervals of fewer than {FEW_VIDEOS} videos are too narrow to be believed."
            if few
            else f"Filled: the interval excludes {centre:g} ({centre:g} = no effect)."
        )
        heading(figure, title, f"{subtitle}\n{told}")
    return figure


def _point(axes: Axes, row: dict[str, Any], height: float, colour: str, centre: float) -> None:
    low, high = row["low"], row["high"]
    if not math.isfinite(row["estimate"]):
        axes.text(centre, height, "  none", color=QUIET, fontsize=7, va="center")
        return
    if math.isfinite(low):
        axes.plot([low, high], [height, height], color=colour, linewidth=1.6, solid_capstyle="butt")
    told = told_apart(low, high, row["videos"], centre)
    axes.plot(
        row["estimate"],
        height,
        marker="o",
        markersize=5,
        color=colour,
        markerfacecolor=colour if told else "white",
        markeredgewidth=1.3,
    )
