"""``event_recovery.png``: how well each gate finds the event's clips, and one sample over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import polars as pl
from matplotlib.axes import Axes

from .style import (
    EVENT,
    QUIET,
    Figure,
    grid,
    heading,
    kind_colour,
    kind_name,
    new_figure,
    shades,
    short,
    style,
)


def event_figure(
    gates: pl.DataFrame, curves: pl.DataFrame, example: pl.DataFrame, example_id: str, subtitle: str
) -> Figure:
    """One row a kind of gate: left the ROC curve of every layer, right the example with its event shaded.

    Takes the frames of :class:`~gatescope.analysis.events.recovery.EventRecovery`.
    """
    kinds = gates["gate"].unique(maintain_order=True).to_list()
    layers = sorted(gates["layer"].unique().to_list())
    with style():
        figure = new_figure(12, 0.9 + 3.4 * len(kinds))
        panels = figure.subplots(len(kinds), 2, width_ratios=[1, 2.1], squeeze=False, sharex="col")
        for (left, right), kind in zip(panels, kinds, strict=True):
            of_kind = pl.col("gate") == kind
            tints = dict(zip(layers, shades(kind_colour(kinds, kind), len(layers)), strict=True))
            left.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
            for row in gates.filter(of_kind).iter_rows(named=True):
                here = of_kind & (pl.col("layer") == row["layer"])
                curve = curves.filter(here)
                area = "none" if math.isnan(row["auc"]) else f"{row['auc']:.3f}"
                left.plot(
                    curve["false_positive"],
                    curve["true_positive"],
                    color=tints[row["layer"]],
                    linewidth=1.8,
                    label=f"layer {row['layer']}: AUC {area}",
                )
                shown = example.filter(here)
                right.plot(shown["clip"], shown["value"], color=tints[row["layer"]], linewidth=1.5)
            left.set_title(f"{kind_name(kind)}: ROC")
            left.set_ylabel("share of event clips found")
            left.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
            left.set_aspect("equal")
            left.legend(loc="lower right", handlelength=1.4)
            grid(left)
            right.set_title(f"{kind_name(kind)} of sample {short(example_id)} over time")
            right.set_ylabel("gate value")
            _shade_events(right, example.filter(of_kind & (pl.col("layer") == layers[0])))
            right.axhline(0, color=QUIET, linewidth=0.8)
            grid(right, "y")
        panels[-1][0].set_xlabel("share of other clips taken for the event")
        panels[-1][1].set_xlabel("clip (shaded: the event)")
        for axes in panels[:-1].flat:
            axes.tick_params(labelbottom=True)
        heading(figure, "Do the gates find the event?", subtitle)
    return figure


def _shade_events(axes: Axes, example: pl.DataFrame) -> None:
    clips = example.filter(pl.col("event"))["clip"].cast(pl.Int64).to_list()
    for first, last in _stretches(clips):
        axes.axvspan(first - 0.5, last + 0.5, color=EVENT, alpha=0.35, linewidth=0, zorder=0)
    axes.margins(x=0.01)


def _stretches(clips: Sequence[int]) -> list[tuple[int, int]]:
    """First and last clip of every unbroken stretch of ascending ``clips``."""
    if not clips:
        return []
    breaks = [index for index, (one, other) in enumerate(pairwise(clips), start=1) if other != one + 1]
    starts, ends = [0, *breaks], [*breaks, len(clips)]
    return [(clips[start], clips[end - 1]) for start, end in zip(starts, ends, strict=True)]
