"""``query_gate_rankings.png``: the queries with the largest and the smallest gates, by their own ids."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from matplotlib.axes import Axes

from .style import INK, QUIET, Figure, grid, heading, kind_colour, kind_name, new_figure, short, signed, style

_NAME = 16


def ranking_figure(
    ends: Sequence[tuple[str | None, pl.DataFrame, pl.DataFrame]], total: int, subtitle: str
) -> Figure:
    """One panel a ranking, the largest value on top.

    ``ends``: for each ranking the kind of gate (None: all together) and the queries of its top and bottom, as
    :func:`~gatescope.analysis.queries.rankings.ends_of_ranking` gives them, with ``qid``, the ranked
    ``value`` and, where results are known, ``ap`` (0 to 1). ``total``: how many queries were ranked.
    """
    kinds = [kind for kind, _, _ in ends if kind is not None]
    bars = max(top.height + bottom.height for _, top, bottom in ends)
    with style():
        figure = new_figure(max(7.0, 0.4 + 3.9 * len(ends)), 1.5 + 0.23 * (bars + 1))
        panels = figure.subplots(1, len(ends), squeeze=False, sharex=True)[0]
        for axes, (kind, top, bottom) in zip(panels, ends, strict=True):
            colour = INK if kind is None else kind_colour(kinds, kind)
            _draw(axes, top, bottom.reverse(), total, colour)
            axes.set_title("All gates together" if kind is None else kind_name(kind))
            axes.set_xlabel("mean gate of the query")
        low, high = panels[0].get_xlim()
        room = 0.16 * (high - low)  # for the numbers at the bars' ends
        panels[0].set_xlim(low - (room if low < 0 else 0), high + (room if high > 0 else 0))
        known = any("ap" in top.columns for _, top, _ in ends)
        result = " Behind each id: the query's average precision (mAP)." if known else ""
        heading(figure, "Queries ranked by their gates", f"{subtitle}{result}")
    return figure


def _draw(axes: Axes, top: pl.DataFrame, bottom: pl.DataFrame, total: int, colour: str) -> None:
    between = total - top.height - bottom.height
    gap = 1 if between > 0 else 0
    rows = [*top.iter_rows(named=True), *bottom.iter_rows(named=True)]
    places = [number + (gap if number >= top.height else 0) for number in range(len(rows))]
    for place, row in zip(places, rows, strict=True):
        value = row["value"]
        axes.barh(place, value, height=0.72, color=colour, alpha=0.85)
        axes.annotate(
            signed(value),
            (value, place),
            xytext=(3 if value >= 0 else -3, 0),
            textcoords="offset points",
            ha="left" if value >= 0 else "right",
            va="center",
            fontsize=7,
        )
    if gap:
        axes.text(
            0.5,
            top.height,
            f"… {between:,} more …",
            transform=axes.get_yaxis_transform(),
            ha="center",
            va="center",
            color=QUIET,
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    axes.axvline(0, color=QUIET, linewidth=0.8)
    axes.set_yticks(places, [_label(row) for row in rows])
    axes.tick_params(axis="y", length=0, labelsize=7.5)
    axes.set_ylim(max([*places, 0]) + 0.7, -0.7)
    grid(axes, "x")


def _label(row: dict[str, object]) -> str:
    name = short(str(row["qid"]), _NAME)
    result = row.get("ap")
    return f"{name}  {100 * result:.0f}%" if isinstance(result, float) else name
