"""``layer_gate_statistics.png``: the mean gate and its size, layer by layer, over samples."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from .style import INK, QUIET, Figure, grid, heading, kind_colour, kind_name, new_figure, style

_ROWS = {"mean": "mean gate", "mean_abs": "mean |g|"}
_WHISKERS = (5, 25, 50, 75, 95)


def layer_statistics_figure(per_sample: pl.DataFrame, means: pl.DataFrame, subtitle: str) -> Figure:
    """One column a kind of gate; above the samples' means, below their means of |g|.

    - ``per_sample``: ``GateSummary.per_sample``; its spread over samples is drawn as a box.
    - ``means``: ``layer, gate, statistic`` (``mean`` or ``mean_abs``), ``estimate, low, high``: the mean
      over all and its interval.
    """
    kinds = per_sample["gate"].unique(maintain_order=True).to_list()
    layers = sorted(per_sample["layer"].unique().to_list())
    with style():
        figure = new_figure(1.6 + len(kinds) * max(3.0, 0.55 * len(layers) + 1.0), 5.4)
        panels = figure.subplots(2, len(kinds), squeeze=False, sharex=True, sharey="row")
        for row, statistic in zip(panels, _ROWS, strict=True):
            for axes, kind in zip(row, kinds, strict=True):
                for place, layer in enumerate(layers):
                    here = (pl.col("layer") == layer) & (pl.col("gate") == kind)
                    values = per_sample.filter(here)[statistic].to_numpy()
                    _box(axes, place, values[np.isfinite(values)], kind_colour(kinds, kind))
                    for mean in means.filter(here, pl.col("statistic") == statistic).iter_rows(named=True):
                        _mean(axes, place, mean)
                axes.use_sticky_edges = False
                axes.axhline(0, color=QUIET, linewidth=0.8, zorder=0)
                axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
                axes.set_xlim(-0.6, len(layers) - 0.4)
                grid(axes, "y")
            row[0].set_ylabel(_ROWS[statistic])
        for axes, kind in zip(panels[0], kinds, strict=True):
            axes.set_title(kind_name(kind))
        for axes in panels[1]:
            axes.set_xlabel("layer")
            axes.set_ylim(bottom=0)
        heading(
            figure,
            "Gates of samples, layer by layer",
            "Box: middle half of the samples, line in it: median, whiskers: 5 to 95%. Dot: mean with its\n"
            f"95% interval by video. {subtitle}",
        )
    return figure


def _box(axes: Axes, place: int, values: np.ndarray, colour: str) -> None:
    if values.size == 0:
        axes.text(place, 0, "none", ha="center", va="bottom", color=QUIET, fontsize=8)
        return
    low, lower, median, upper, high = np.percentile(values, _WHISKERS)
    axes.bar(place, upper - lower, bottom=lower, width=0.5, color=colour, alpha=0.3)
    axes.plot([place, place], [low, high], color=colour, linewidth=1, alpha=0.8)
    axes.plot([place - 0.25, place + 0.25], [median, median], color=colour, linewidth=1.6)


def _mean(axes: Axes, place: int, mean: dict[str, float]) -> None:
    if np.isfinite(mean["low"]):
        axes.plot([place, place], [mean["low"], mean["high"]], color=INK, linewidth=2.4)
    if np.isfinite(mean["estimate"]):
        axes.plot(place, mean["estimate"], "o", color=INK, markersize=4.5)
