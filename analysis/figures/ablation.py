"""``ablation.png``: by how much every intervention changes every metric, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .style import INK, MISSING, QUIET, Figure, grid, heading, kind_colour, new_figure, short, style

# Audio has a colour that no kind of gate has.
_AUDIO = "#7a5195"
_GROUPS = "#f6f7f9"


def ablation_figure(
    effects: pl.DataFrame, metrics: Sequence[str], labels: Sequence[str], subtitle: str
) -> Figure:
    """One panel a metric of ``metrics`` (called ``labels``), one bar an intervention, all on one scale.

    ``effects`` is ``Effects.overall``. Bars in colour can be told apart from no effect, pale ones cannot; a
    thick line is an effect's own interval, a thin one the interval that holds together with all others.
    """
    frame = effects.filter(pl.col("metric").is_in(list(metrics)))
    names = frame["intervention"].unique(maintain_order=True).to_list()
    kinds = frame["kind"].drop_nulls().unique(maintain_order=True).to_list()
    places, breaks = _places(frame, names)
    with style():
        figure = new_figure(3.4 + 2.1 * len(metrics), 1.5 + 0.215 * (places[-1] + 1))
        panels = figure.subplots(1, len(metrics), squeeze=False, sharex=True, sharey=True)[0]
        for axes, metric, label in zip(panels, metrics, labels, strict=True):
            _draw(axes, frame.filter(metric=metric), dict(zip(names, places, strict=True)), kinds)
            for start, end in breaks[::2]:
                axes.axhspan(start - 0.5, end + 0.5, color=_GROUPS, zorder=0, linewidth=0)
            axes.axvline(0, color=INK, linewidth=0.9)
            axes.set_title(label)
            axes.set_xlabel("change, points")
            grid(axes, "x")
        panels[0].set_yticks(places, _labels(frame, names))
        for axes in panels:
            axes.tick_params(axis="y", length=0)
        panels[0].set_ylim(places[-1] + 0.7, places[0] - 0.7)
        _scale(panels[0], frame)
        _legend(panels[-1])
        heading(figure, "What audio and gates cause", subtitle)
    return figure


def _places(frame: pl.DataFrame, names: Sequence[str]) -> tuple[list[float], list[tuple[float, float]]]:
    """Where each intervention stands, those on one target together, and where each target begins and ends."""
    places: list[float] = []
    groups: list[tuple[float, float]] = []
    before, place = None, -1.0
    for name in names:
        target = frame.filter(intervention=name)["target"][0]
        if target != before:
            place += 1.4 if before is not None else 1
            groups.append((place, place))
        else:
            place += 1
        groups[-1] = (groups[-1][0], place)
        places.append(place)
        before = target
    return places, groups


def _labels(frame: pl.DataFrame, names: Sequence[str]) -> list[str]:
    """What each bar changes; the target stands at the first bar of its group."""
    labels: list[str] = []
    before = None
    for name in names:
        row = frame.filter(intervention=name).row(0, named=True)
        target = "" if row["target"] == before else f"{short(row['target'], 36)}:  "
        labels.append(target + row["change"])
        before = row["target"]
    return labels


def _draw(axes: Axes, rows: pl.DataFrame, places: dict[str, float], kinds: Sequence[str]) -> None:
    shown = rows.filter(pl.col("effect").is_not_nan())
    at = np.array([places[name] for name in shown["intervention"]])
    colours = [_colour(row, kinds) for row in shown.iter_rows(named=True)]
    axes.barh(at, shown["effect"], height=0.72, color=colours, zorder=2)
    idle = (shown["effect"] == 0).to_numpy()
    axes.plot(
        np.zeros(idle.sum()), at[idle], "o", color=INK, markerfacecolor="white", markersize=3.6, zorder=4
    )
    for low, high, width in (("family_low", "family_high", 0.8), ("low", "high", 2.4)):
        axes.hlines(at, shown[low], shown[high], color=INK, linewidth=width, zorder=3)


def _colour(row: dict[str, Any], kinds: Sequence[str]) -> str:
    if not row["told_apart"]:
        return MISSING
    if row["what"] == "audio":
        return _AUDIO
    return QUIET if row["kind"] is None else kind_colour(kinds, row["kind"])


def _scale(axes: Axes, frame: pl.DataFrame) -> None:
    """All panels on one scale that holds every interval and 0."""
    columns = np.array([frame[name].to_numpy() for name in ("effect", "family_low", "family_high")])
    known = columns[np.isfinite(columns)]
    low, high = (min(known.min(), 0.0), max(known.max(), 0.0)) if known.size else (-1.0, 1.0)
    room = 0.06 * (high - low) or 1.0
    axes.set_xlim(low - room, high + room)


def _legend(axes: Axes) -> None:
    marks = [
        Line2D([], [], color=INK, linewidth=2.4, label="interval of this effect alone"),
        Line2D([], [], color=INK, linewidth=0.8, label="interval that holds with all others"),
        Line2D([], [], color=MISSING, linewidth=7, label="cannot be told apart from no effect"),
    ]
    axes.figure.legend(handles=marks, loc="outside upper right", ncols=3, fontsize=8)  # type: ignore[union-attr]
