"""``gate_evolution.png``: gates over layers, over a video's course, and against the strength of its audio."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import polars as pl
from matplotlib.axes import Axes

from .style import (
    MARKERS,
    QUIET,
    Figure,
    grid,
    heading,
    kind_colour,
    kind_name,
    new_figure,
    percent_axis,
    shades,
    short,
    style,
)

_NAMED_LAYERS = 8  # beyond it a legend hides the lines


def evolution_figure(
    levels: pl.DataFrame, course: pl.DataFrame, by_strength: pl.DataFrame, lacking: str, subtitle: str
) -> Figure:
    """One row a kind of gate, all on the same scale; bands are intervals by video.

    Takes the frames of :class:`~gatescope.analysis.relations.relations.Relations`. ``lacking`` says why there
    is no strength, where there is none.
    """
    kinds = levels["gate"].unique(maintain_order=True).to_list()
    layers = sorted(levels["layer"].drop_nulls().unique().to_list())
    with style():
        figure = new_figure(13, 0.9 + 3.0 * len(kinds))
        panels = figure.subplots(len(kinds), 3, squeeze=False, sharex="col", sharey=True)
        for row, kind in zip(panels, kinds, strict=True):
            colour = kind_colour(kinds, kind)
            of_kind = pl.col("gate") == kind
            tints = shades(colour, len(layers))
            _draw_layers(row[0], levels.filter(of_kind & pl.col("layer").is_not_null()), colour)
            _draw_lines(row[1], course.filter(of_kind), "position", layers, tints)
            _draw_lines(row[2], by_strength.filter(of_kind), "tenth", layers, tints)
            for axes in row:
                axes.axhline(0, color=QUIET, linewidth=0.8, zorder=0)
                grid(axes, "y")
            if course.filter(of_kind).is_empty():
                _say(row[1], "One value for the whole video:\nno course over clips.")
            if by_strength.filter(of_kind).is_empty():
                _say(row[2], _wrapped(lacking or "No clip has both a gate and a strength."))
            row[0].set_ylabel(f"{kind_name(kind)}\nmean", fontweight="bold")
        titles = ("Over layers", "Over the video", "Against audio strength")
        for axes, title in zip(panels[0], titles, strict=True):
            axes.set_title(title)
        for axes in panels[:-1].flat:
            axes.tick_params(labelbottom=True)
        panels[-1][0].set_xlabel("layer")
        panels[-1][1].set_xlabel("place in the video (start to end)")
        panels[-1][2].set_xlabel("clips in tenths by the L2 norm of their audio features (norm)")
        _name_strengths(panels[-1][2], by_strength)
        panels[0][1].set_xlim(0, 1)
        percent_axis(panels[-1][1].xaxis)
        if len(layers) <= _NAMED_LAYERS:
            for axes in panels[:, 1:].flat:
                _name_layers(axes)
        heading(figure, "How the gates evolve", f"Bands: 95% intervals, by video. {subtitle}")
    return figure


def _draw_layers(axes: Axes, levels: pl.DataFrame, colour: str) -> None:
    known = levels.filter(pl.col("mean").is_not_nan())
    at = known["layer"].to_list()
    axes.fill_between(at, known["mean_low"], known["mean_high"], color=colour, alpha=0.2, linewidth=0)
    axes.plot(at, known["mean"], "o-", color=colour, linewidth=1.6, label="mean")
    axes.plot(
        at,
        known["mean_abs"],
        "D--",
        color=colour,
        linewidth=1.0,
        markerfacecolor="white",
        markersize=5,
        label="mean |g|",
    )
    every = levels["layer"].to_list()
    axes.set_xticks(every[:: 1 + len(every) // 16])
    axes.margins(x=0.08)
    if at:
        axes.legend(loc="best")


def _draw_lines(
    axes: Axes, curves: pl.DataFrame, along: str, layers: Sequence[int], tints: Sequence[tuple[float, ...]]
) -> None:
    for layer, tint in zip(layers, tints, strict=True):
        own = curves.filter(pl.col("layer") == layer)
        if own.is_empty():
            continue
        axes.fill_between(own[along], own["mean_low"], own["mean_high"], color=tint, alpha=0.15, linewidth=0)
        axes.plot(
            own[along],
            own["mean"],
            color=tint,
            linewidth=1.5,
            label=f"layer {layer}",
            marker=MARKERS[layer % len(MARKERS)],
            markersize=4.5,
            markerfacecolor="white",
        )


def _name_layers(axes: Axes) -> None:
    """Layers above the panel, where they hide nothing."""
    lines, names = axes.get_legend_handles_labels()
    if lines:
        axes.legend(
            lines,
            [names[0], *(name.removeprefix("layer ") for name in names[1:])],
            ncols=_NAMED_LAYERS,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            borderaxespad=0.1,
            columnspacing=0.9,
            handlelength=1.6,
            fontsize=7.5,
        )


def _name_strengths(axes: Axes, by_strength: pl.DataFrame) -> None:
    """The strength at every third tenth: norms themselves often lie too close together to stand apart."""
    named = by_strength.unique("tenth").sort("tenth").gather_every(3)
    axes.set_xticks(named["tenth"].to_list(), [f"{norm:.3g}" for norm in named["strength"].to_list()])


def _say(axes: Axes, text: str) -> None:
    """Words in the place of a picture that cannot be drawn."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=QUIET)


def _wrapped(text: str) -> str:
    return textwrap.fill(short(text, 220), 44, break_long_words=True)
