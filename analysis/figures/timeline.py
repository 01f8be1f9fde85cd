"""One query over time: its gates layer by layer, with true and predicted windows and saliency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from matplotlib.axes import Axes

from .style import EVENT, INK, QUIET, Figure, grid, heading, kind_colour, kind_name, new_figure, style

_WINDOWS = 5
_ROW = 0.95


def timeline_figure(
    gates: pl.DataFrame,
    ranges: Mapping[str, tuple[float, float]],
    title: str,
    subtitle: str,
    *,
    truth: pl.DataFrame | None = None,
    predicted: pl.DataFrame | None = None,
    saliency: pl.DataFrame | None = None,
    rated: pl.DataFrame | None = None,
    limits: tuple[float, float] | None = None,
    unit: str = "seconds",
) -> Figure:
    """Windows, then one row a layer with every kind of gate, then saliency, all on one axis in ``unit``.

    Takes the frames of :class:`~gatescope.analysis.timelines.timeline.Timeline`; ``ranges`` by kind. All
    layers are on the same scale: ``limits`` where figures are compared (:func:`gate_limits`). A global
    gate is one line over the whole video.
    """
    kinds = [kind for kind in ranges if (gates["gate"] == kind).any()]
    layers = sorted(gates["layer"].unique().to_list())
    truth, predicted, saliency, rated = (
        None if frame is None or frame.is_empty() else frame for frame in (truth, predicted, saliency, rated)
    )
    windows = (truth is not None) + (0 if predicted is None else min(_WINDOWS, predicted.height))
    below = saliency is not None or rated is not None
    heights = [0.1 + 0.13 * windows] * (windows > 0) + [1.0] * len(layers) + [0.9] * below
    with style():
        figure = new_figure(10, 1.3 + _ROW * sum(heights))
        panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        rows = iter(panels)
        if windows:
            _draw_windows(next(rows), truth, predicted)
        low, high = limits or gate_limits([gates])
        for layer in layers:
            axes = next(rows)
            for kind in kinds:
                own = gates.filter(pl.col("layer") == layer, pl.col("gate") == kind)
                _draw_gate(axes, own, kind_colour(list(ranges), kind), kind_name(kind))
            axes.set_ylim(low, high)
            axes.axhline(0, color=QUIET, linewidth=0.8, zorder=1)
            axes.set_ylabel(f"layer {layer}", fontweight="bold")
            grid(axes, "y")
        if below:
            _draw_saliency(next(rows), saliency, rated)
        first = 1 if windows else 0
        for start, end, _ in [] if truth is None else truth.iter_rows():
            for axes in panels[first:]:
                axes.axvspan(start, end, color=EVENT, alpha=0.28, linewidth=0, zorder=0)
        lines, names = panels[first].get_legend_handles_labels()
        figure.legend(lines, names, loc="upper right", ncols=len(kinds), handlelength=1.4)
        panels[-1].set_xlabel(unit)
        panels[-1].set_xlim(0, float(gates["end"].max()))  # type: ignore[arg-type]
        heading(figure, title, subtitle)
    return figure


def gate_limits(compared: Sequence[pl.DataFrame]) -> tuple[float, float]:
    """A scale for all of these gates: from the lowest to the highest value, 0 within, with some room."""
    shown = [one.filter(pl.col("value").is_finite())["value"] for one in compared]
    values = [value for one in shown for value in one.to_list()]
    low, high = min([0.0, *values]), max([0.0, *values])
    room = 0.12 * (high - low) or 0.05
    return low - room, high + room


def _draw_gate(axes: Axes, own: pl.DataFrame, colour: str, label: str) -> None:
    if own.height == 1:
        axes.hlines(own["value"], own["start"], own["end"], color=colour, linewidth=2, label=label, zorder=2)
        return
    middles = ((own["start"] + own["end"]) / 2).to_list()
    axes.plot(middles, own["value"].to_list(), color=colour, linewidth=1.4, label=label, zorder=2)


def _draw_windows(axes: Axes, truth: pl.DataFrame | None, predicted: pl.DataFrame | None) -> None:
    marks: list[tuple[float, str]] = []
    if truth is not None:
        for start, end, _ in truth.iter_rows():
            axes.barh(0, end - start, left=start, height=0.8, color=EVENT)
        marks.append((0, "true"))
    if predicted is not None:
        shown = predicted.head(_WINDOWS)
        for place, (start, end, score) in enumerate(shown.iter_rows(), start=1):
            strength = 0.25 + 0.75 * min(max(score, 0.0), 1.0)
            axes.barh(place, end - start, left=start, height=0.7, color=INK, alpha=strength)
        marks.append(((1 + shown.height) / 2, f"predicted, top {shown.height}"))
    axes.set_yticks([at for at, _ in marks], [name for _, name in marks])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_saliency(axes: Axes, saliency: pl.DataFrame | None, rated: pl.DataFrame | None) -> None:
    if saliency is not None:
        edges = [*saliency["start"].to_list(), saliency["end"][-1]]
        values = saliency["value"].to_list()
        low = min(values)
        axes.stairs(values, edges, baseline=low, fill=True, color=QUIET, alpha=0.55)
        axes.set_ylabel("saliency", fontweight="bold")
    if rated is not None:
        own = axes if saliency is None else axes.twinx()
        middles = ((rated["start"] + rated["end"]) / 2).to_list()
        own.plot(middles, rated["value"].to_list(), "o", color=INK, markersize=2.6)
        own.set_ylim(-0.2, 4.2)
        own.set_yticks([0, 2, 4])
        own.set_ylabel("rated (dots)", fontweight="bold" if saliency is None else "normal")
