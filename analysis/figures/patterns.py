"""``activation_patterns.png``: the mean gate of every sample and layer as a heat map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from .style import INK, MISSING, Figure, heading, kind_name, new_figure, short, signed, style, value_scale

_LABELLED = 40
_WRITTEN = 12
_QUARTERS = ("lowest", "25%", "50%", "75%", "highest")
_LETTERS = 75  # as many fit side by side under the panels


def pattern_figure(
    patterns: pl.DataFrame, ranges: Mapping[str, tuple[float, float]], subtitle: str
) -> Figure:
    """One panel per kind of gate, the first layer at the bottom, samples from left to right.

    Takes what ``sample_patterns`` of :mod:`gatescope.analysis.overview.pictures` gives, and the range of each
    kind. Kinds that are signed share one diverging scale centred on 0, so that their colours can be compared.
    """
    kinds = [kind for kind in ranges if (patterns["gate"] == kind).any()]
    columns = patterns["column"].n_unique()
    labelled = columns <= _LABELLED
    with style():
        height = max(1.1, 0.38 * patterns["layer"].n_unique() + 0.5)
        figure = new_figure(
            min(13.0, max(7.0, 3 + 0.8 * columns)), 1.2 + len(kinds) * height + (0.9 if labelled else 0.3)
        )
        panels = figure.subplots(len(kinds), 1, squeeze=False, sharex=True)[:, 0]
        for axes, kind in zip(panels, kinds, strict=True):
            compared = [other for other in kinds if _signed(ranges[other]) == _signed(ranges[kind])]
            shown = patterns.filter(pl.col("gate").is_in(compared))["mean"].to_numpy()
            largest = float(np.max(np.abs(shown[np.isfinite(shown)]), initial=0.0))
            colours, scale = value_scale(*ranges[kind], largest)
            _draw(axes, patterns.filter(pl.col("gate") == kind), columns, colours, scale)
            axes.set_title(kind_name(kind))
            bar = figure.colorbar(ScalarMappable(scale, colours), ax=axes, pad=0.01, aspect=12)
            bar.set_label("mean gate")
            bar.outline.set_visible(False)  # type: ignore[operator]
        if labelled:
            labels = patterns.unique("column", keep="first").sort("column")["label"].to_list()
            _label_samples(panels[-1], [short(label) for label in labels])
        else:
            ends = columns - 1
            panels[-1].set_xticks([0, ends / 4, ends / 2, 3 * ends / 4, ends], _QUARTERS)
            panels[-1].set_xlabel("samples in the order of their mean gate")
        heading(figure, "Mean gate of every sample and layer", f"{_explained(patterns, kinds[0])} {subtitle}")
    return figure


def _label_samples(axes: Axes, labels: Sequence[str]) -> None:
    tight = len(labels) * max(len(label) for label in labels) > _LETTERS
    axes.set_xticks(range(len(labels)), labels)
    axes.tick_params(axis="x", rotation=45 if tight else 0, length=0)
    for tick in axes.get_xticklabels():
        tick.set_horizontalalignment("right" if tight else "center")
        tick.set_rotation_mode("anchor" if tight else "default")


def _draw(axes: Axes, shown: pl.DataFrame, columns: int, colours: str, scale: Normalize) -> None:
    layers = sorted(shown["layer"].unique().to_list())
    table = np.full((len(layers), columns), np.nan)
    for row in shown.iter_rows(named=True):
        table[layers.index(row["layer"]), row["column"]] = row["mean"]
    palette = colormaps[colours].with_extremes(bad=MISSING)
    axes.imshow(
        np.ma.masked_invalid(table),
        cmap=palette,
        norm=scale,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
    )
    axes.set_yticks(range(len(layers)), [str(layer) for layer in layers])
    axes.set_ylabel("layer")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if columns > _WRITTEN:
        return
    for (row, column), value in np.ndenumerate(table):
        red, green, blue, _ = palette(scale(value)) if math.isfinite(value) else (1.0, 1.0, 1.0, 1.0)
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        axes.text(
            column,
            row,
            signed(value) if math.isfinite(value) else "none",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if dark else INK,
        )


def _explained(patterns: pl.DataFrame, first: str) -> str:
    """How samples became columns, said under the picture."""
    per_column = patterns.unique("column", keep="first")["samples"]
    order = f"Samples ordered by their mean {first} gate, the same for all panels."
    fewest, most = min(per_column.to_list()), max(per_column.to_list())
    if most == 1:
        return order
    joined = f"{fewest} or {most}" if most > fewest else f"{most}"
    return f"{order} Each of the {per_column.len()} columns is the mean of {joined} samples."


def _signed(range_: tuple[float, float]) -> bool:
    return range_[0] < 0 < range_[1]
