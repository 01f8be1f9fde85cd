"""``epochs.png``: gates over the epochs of a training, below what training logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .style import (
    INK,
    MARKERS,
    QUIET,
    Figure,
    grid,
    heading,
    kind_colour,
    kind_name,
    new_figure,
    percent_axis,
    png,
    series_colour,
    shades,
    style,
)

ByEpoch = Mapping[int, float]

_PANELS = {
    "mean_abs": "mean |g|",
    "mean": "mean",
    "share_near_zero": "near zero, |g| < 0.05",
    "share_saturated": "saturated",
}
_TURNS = {"open": ("^", "opens"), "shut": ("v", "shuts")}
_NAMED_LAYERS = 8


def epochs_figure(
    frame: pl.DataFrame,
    metric: str | None,
    logged: ByEpoch,
    losses: ByEpoch,
    subtitle: str,
) -> Figure:
    """The logged metric and loss, and below a row per kind of gate with a line per layer.

    ``frame``: one row per epoch, layer and gate, with the columns ``epoch``, ``layer``, ``gate``, ``state``,
    ``note`` and the statistics, null where weights are not finite. ``logged``, named ``metric``, and
    ``losses``: by epoch. A triangle marks the first epoch at which a gate is open or shut.
    """
    kinds = frame["gate"].unique(maintain_order=True).to_list()
    layers = sorted(frame["layer"].unique().to_list())
    broken = frame.filter(pl.col("note").is_not_null())["epoch"].unique().sort().to_list()
    with style():
        figure = new_figure(13, 3.2 + 2.5 * len(kinds))
        places = figure.add_gridspec(len(kinds) + 1, len(_PANELS))
        above = figure.add_subplot(places[0, :])
        _draw_log(above, metric, logged, losses)
        panels = [above]
        for row, kind in enumerate(kinds, start=1):
            tints = shades(kind_colour(kinds, kind), len(layers))
            for column, (name, title) in enumerate(_PANELS.items()):
                axes = figure.add_subplot(places[row, column], sharex=above)
                panels.append(axes)
                for layer, tint in zip(layers, tints, strict=True):
                    own = frame.filter((pl.col("gate") == kind) & (pl.col("layer") == layer))
                    _draw_layer(axes, own, name, layer, tint)
                if name.startswith("share"):
                    axes.set_ylim(-0.04, 1.04)
                    percent_axis(axes.yaxis)
                elif name == "mean":
                    axes.axhline(0, color=QUIET, linewidth=0.8, zorder=0)
                if row == 1:
                    axes.set_title(title)
                if column == 0:
                    axes.set_ylabel(kind_name(kind), fontweight="bold")
                if row == len(kinds):
                    axes.set_xlabel("epoch")
        _name_layers(panels[1], len(layers))
        for axes in panels:
            grid(axes, "y")
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
            for epoch in broken:
                axes.axvline(epoch, color=INK, linestyle=":", linewidth=1)
        lost = f" Dotted: weights NaN or infinite (epoch {', '.join(map(str, broken))})." if broken else ""
        heading(figure, "Gates by epoch", f"▲ opens, ▼ shuts. {subtitle}{lost}")
    return figure


def epochs_png(
    frame: pl.DataFrame,
    metric: str | None,
    logged: ByEpoch,
    losses: ByEpoch,
    subtitle: str,
) -> bytes:
    """The figure as a PNG file; found by ``gatescope epochs`` under the plug-in name ``epochs-figure``."""
    return png(epochs_figure(frame, metric, logged, losses, subtitle))


def _draw_log(axes: Axes, metric: str | None, logged: ByEpoch, losses: ByEpoch) -> None:
    axes.set_title("What training logged")
    if not logged and not losses:
        axes.text(0.5, 0.5, "nothing that could be read", transform=axes.transAxes, ha="center", color=QUIET)
        axes.set_yticks([])
        return
    if logged:
        colour = series_colour(2)
        axes.plot(*_sorted(logged), "o-", color=colour, markersize=4, label=f"{metric}, validation")
        axes.set_ylabel(f"{metric}, as logged")
    if losses:
        right = axes.twinx() if logged else axes
        right.plot(*_sorted(losses), color=QUIET, linewidth=1.2, marker="." if len(losses) == 1 else "")
        right.set_ylabel("training loss (grey)")
        right.spines["right"].set_visible(bool(logged))


def _sorted(values: ByEpoch) -> tuple[Sequence[int], Sequence[float]]:
    return sorted(values), [values[epoch] for epoch in sorted(values)]


def _draw_layer(axes: Axes, own: pl.DataFrame, name: str, layer: int, tint: tuple[float, ...]) -> None:
    known = own.filter(pl.col(name).is_not_null() & pl.col(name).is_not_nan())
    axes.plot(
        known["epoch"],
        known[name],
        color=tint,
        linewidth=1.5,
        marker=MARKERS[layer % len(MARKERS)],
        markersize=4,
        markerfacecolor="white",
        label=f"layer {layer}",
    )
    if name != "mean_abs":
        return
    turned = known.filter(
        (pl.col("state") != pl.col("state").shift(1)) & pl.col("state").shift(1).is_not_null()
    )
    for epoch, value, state in turned.select("epoch", name, "state").iter_rows():
        axes.plot(epoch, value, _TURNS[state][0], color=tint, markersize=9, markeredgecolor=INK, zorder=5)


def _name_layers(axes: Axes, layers: int) -> None:
    if layers <= _NAMED_LAYERS:
        axes.legend(loc="best", fontsize=7.5, ncols=2)
