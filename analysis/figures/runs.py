"""``run_comparison.png``: gates and metrics of several runs, and how they differ from the first run's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .style import INK, Figure, grid, heading, kind_name, new_figure, series_colour, short, style

_DRAWN = {
    "MR-full-mAP": "mAP",
    "MR-full-R1@0.5": "R1@0.5",
    "MR-full-R1@0.7": "R1@0.7",
    "HL-min-VeryGood-mAP": "HL mAP",
    "HL-min-VeryGood-Hit1": "HL Hit1",
}
_MARKERS = "osD^vP"
_GROUPS = "#f6f7f9"
# Runs beyond it stand so close that their intervals cannot be told apart.
_MOST_SHOWN = 12


def runs_figure(gates: pl.DataFrame, metrics: pl.DataFrame, names: Sequence[str]) -> Figure:
    """One column a kind of gate and one for metrics; above the values, below the differences from the first
    run.

    Takes the frames of ``compare_gates`` (one statistic of it) and ``compare_metrics``; the latter may be
    empty. Of more than a dozen runs the first ones are shown, and the figure says so.
    """
    shown = list(names)[:_MOST_SHOWN]
    kinds = gates["gate"].unique(maintain_order=True).to_list()
    drawn = metrics.filter(pl.col("metric").is_in(list(_DRAWN)))
    columns = len(kinds) + (0 if drawn.is_empty() else 1)
    layers = sorted(gates["layer"].unique().to_list())
    with style():
        width = max(0.9 + 0.14 * len(shown), 0.55) * len(layers)
        widths = [max(width, 2.6)] * len(kinds) + ([] if drawn.is_empty() else [max(1.1 * len(_DRAWN), 4.2)])
        figure = new_figure(1.2 + sum(widths), 6.4)
        panels = figure.subplots(2, columns, squeeze=False, sharex="col", width_ratios=widths)
        for (above, below), kind in zip(panels.T, kinds, strict=False):
            own = gates.filter(gate=kind).with_columns(place=pl.col("layer"))
            _draw(above, below, own, shown)
            above.set_title(kind_name(kind))
            below.set_xticks(layers)
            below.set_xlim(layers[0] - 0.55, layers[-1] + 0.55)
            below.set_xlabel("layer")
        _share(panels[:, : len(kinds)])
        panels[0][0].set_ylabel("mean gate")
        panels[1][0].set_ylabel("difference of mean gates")
        if not drawn.is_empty():
            there = [metric for metric in _DRAWN if metric in drawn["metric"]]
            places = {metric: place for place, metric in enumerate(there)}
            above, below = panels[:, -1]
            placed = drawn.with_columns(place=pl.col("metric").replace_strict(places, return_dtype=pl.Int64))
            _draw(above, below, placed, shown)
            above.set_title("Metrics")
            above.set_ylabel("percent")
            below.set_ylabel("difference, points")
            below.set_xticks(list(places.values()), [_DRAWN[metric] for metric in there])
            below.set_xlim(-0.55, len(there) - 0.45)
        for axes in panels[1]:
            axes.axhline(0, color=INK, linewidth=0.9, zorder=1)
        _legend(figure, shown)
        which = f" The first {len(shown)} of {len(names)} runs." if len(names) > len(shown) else ""
        heading(
            figure,
            "Runs side by side",
            f"Above: means with 95% intervals by video. Below: differences from {short(names[0], 30)} over "
            f"what both have,\nwith intervals that hold together; filled where they exclude 0.{which}",
        )
    return figure


def _draw(above: Axes, below: Axes, own: pl.DataFrame, names: Sequence[str]) -> None:
    step = 0.8 / max(len(names), 4)
    for place, name in enumerate(names):
        rows = own.filter(run=name)
        at = rows["place"].to_numpy() + (place - (len(names) - 1) / 2) * step
        look: dict[str, Any] = {"color": series_colour(place), "markersize": 5, "linestyle": "none"}
        look["marker"] = _MARKERS[place % len(_MARKERS)]
        above.vlines(at, rows["low"], rows["high"], color=look["color"], linewidth=1.8)
        above.plot(at, rows["value"], **look)
        known = rows["difference"].is_not_null().to_numpy()
        for told in (True, False):
            chosen = known & (rows["told_apart"].fill_null(False).to_numpy() == told)
            some = rows.filter(chosen)
            below.vlines(
                at[chosen],
                some["difference_low"],
                some["difference_high"],
                color=look["color"],
                linewidth=1.8,
            )
            filling = look["color"] if told else "white"
            below.plot(at[chosen], some["difference"], **look, markerfacecolor=filling, markeredgewidth=1.3)
    for axes in (above, below):
        axes.margins(y=0.1)
        grid(axes, "y")
        for place in own["place"].unique().to_list()[::2]:
            axes.axvspan(place - 0.5, place + 0.5, color=_GROUPS, zorder=0, linewidth=0)


def _share(panels: np.ndarray[Any, Any]) -> None:
    """The panels of a row on one scale, and 0 within it."""
    for row in panels:
        ends = [axes.get_ylim() for axes in row]
        low, high = min(0.0, *(end[0] for end in ends)), max(0.0, *(end[1] for end in ends))
        for axes in row:
            axes.set_ylim(low, high)
        for axes in row[1:]:
            axes.tick_params(labelleft=False)


def _legend(figure: Figure, names: Sequence[str]) -> None:
    marks = [
        Line2D(
            [],
            [],
            color=series_colour(place),
            marker=_MARKERS[place % len(_MARKERS)],
            linestyle="none",
            markersize=6,
            label=short(name, 34),
        )
        for place, name in enumerate(names)
    ]
    figure.legend(handles=marks, loc="outside right upper")
