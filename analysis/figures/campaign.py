"""``campaign.png``: every setting of a campaign, its seeds as points, its mean with the interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from .style import MARKERS, Figure, grid, heading, kind_name, new_figure, series_colour, short, style

# Settings beyond it stand so close that they cannot be told apart.
_MOST_SHOWN = 12
# How far seeds stand to the left of their mean.
_ASIDE = 0.06


def campaign_figure(
    levels: pl.DataFrame,
    repeats: pl.DataFrame,
    metrics: Mapping[str, str],
    gates: Mapping[str, Sequence[str]],
) -> Figure:
    """Above one panel per metric, below one per kind of gate with its layers side by side.

    - ``levels``: ``setting, quantity, value, low, high``; ``repeats``: ``setting, quantity, value``, one row
      per seed. ``metrics``: headings by quantity. ``gates``: by kind, the quantity of each layer in order.

    Of more than a dozen settings the first ones are shown, and the figure says so.
    """
    every = levels["setting"].unique(maintain_order=True).to_list()
    settings = every[:_MOST_SHOWN]
    rows = [bool(metrics), bool(gates)]
    with style():
        width = max(7.0, 1.6 * max(len(metrics), 1) + 2.0, 4.2 * len(gates))
        figure = new_figure(width, 1.2 + 2.9 * sum(rows))
        bands = [*figure.subfigures(sum(rows), 1, squeeze=False)[:, 0]]
        if metrics:
            panels = bands[0].subplots(1, len(metrics), squeeze=False)[0]
            for axes, (quantity, name) in zip(panels, metrics.items(), strict=True):
                for place, setting in enumerate(settings):
                    _draw(axes, place, place, setting, quantity, levels, repeats)
                axes.set_xticks(
                    range(len(settings)), [short(one, 16) for one in settings], rotation=30, ha="right"
                )
                axes.set_xlim(-0.6, len(settings) - 0.4)
                axes.set_title(name)
                grid(axes, "y")
            panels[0].set_ylabel("percent")
        if gates:
            panels = bands[-1].subplots(1, len(gates), squeeze=False, sharey=True)[0]
            step = 0.75 / max(len(settings), 3)
            for axes, (kind, quantities) in zip(panels, gates.items(), strict=True):
                for layer, quantity in enumerate(quantities):
                    for place, setting in enumerate(settings):
                        at = layer + (place - (len(settings) - 1) / 2) * step
                        _draw(axes, at, place, setting, quantity, levels, repeats)
                axes.set_xticks(range(len(quantities)))
                axes.set_xlabel("layer")
                axes.set_title(kind_name(kind))
                grid(axes, "y")
            panels[0].set_ylabel("mean |g|")
            panels[-1].legend(
                handles=_handles(panels[-1], settings), loc="upper left", bbox_to_anchor=(1.01, 1.0)
            )
        which = f" The first {len(settings)} of {len(every)} settings." if len(every) > len(settings) else ""
        heading(
            figure,
            "Settings of a campaign",
            "Small points: seeds. Large: their mean, with the 95% interval that carries seeds and videos "
            f"(of one seed: videos alone).{which}",
        )
    return figure


def _draw(
    axes: Axes,
    at: float,
    place: int,
    setting: str,
    quantity: str,
    levels: pl.DataFrame,
    repeats: pl.DataFrame,
) -> None:
    colour, marker = series_colour(place), MARKERS[place % len(MARKERS)]
    own = repeats.filter(setting=setting, quantity=quantity)["value"].to_numpy()
    axes.plot(
        np.full(len(own), at - _ASIDE), own, marker, color=colour, markersize=2.5, alpha=0.7, linestyle="none"
    )
    for row in levels.filter(setting=setting, quantity=quantity).iter_rows(named=True):
        if row["low"] is not None:
            axes.vlines(at, row["low"], row["high"], color=colour, linewidth=1.6)
        axes.plot(at, row["value"], marker, color=colour, markersize=6, markeredgecolor="white")


def _handles(axes: Axes, settings: Sequence[str]) -> list[object]:
    return [
        axes.plot([], [], MARKERS[place % len(MARKERS)], color=series_colour(place), label=short(one, 30))[0]
        for place, one in enumerate(settings)
    ]
