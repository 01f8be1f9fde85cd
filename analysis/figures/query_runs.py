"""One query in many runs: its gates over time, setting by setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .style import EVENT, Figure, grid, heading, kind_name, new_figure, series_colour, short, style

_MOST_SHOWN = 12


def query_figure(
    courses: Sequence[tuple[str, str, np.ndarray[Any, np.dtype[np.float32]]]],
    kinds: Sequence[str],
    duration: float,
    windows: Sequence[tuple[float, float]],
    name: str,
) -> Figure:
    """One panel per kind of gate, a thin line per run, a thick one per setting: the mean over its runs.

    ``courses``: (setting, kind, values (clips | 1,)) of every run, means over layers. ``windows``: the true
    ones, in seconds. A global gate is one line over the whole ``duration``.
    """
    settings = list(dict.fromkeys(setting for setting, _, _ in courses))[:_MOST_SHOWN]
    with style():
        figure = new_figure(10, 1.3 + 2.3 * max(len(kinds), 1))
        panels = figure.subplots(max(len(kinds), 1), 1, sharex=True, squeeze=False)[:, 0]
        for axes, kind in zip(panels, kinds, strict=False):
            for place, setting in enumerate(settings):
                own = [values for of, what, values in courses if of == setting and what == kind]
                colour = series_colour(place)
                for values in own:
                    axes.plot(*_steps(values, duration), color=colour, linewidth=0.7, alpha=0.5)
                longest = max(map(len, own), default=0)
                if alike := [values for values in own if len(values) == longest]:
                    mean = np.mean(alike, axis=0)
                    axes.plot(*_steps(mean, duration), color=colour, linewidth=2.0, label=short(setting, 30))
            for start, end in windows:
                axes.axvspan(start, end, color=EVENT, alpha=0.28, linewidth=0, zorder=0)
            axes.set_title(kind_name(kind))
            axes.set_ylabel("gate")
            axes.set_xlim(0, duration)
            grid(axes, "y")
        panels[-1].set_xlabel("seconds")
        lines, names = panels[0].get_legend_handles_labels()
        if lines:
            figure.legend(lines, names, loc="outside right upper")
        heading(
            figure,
            f"Query {short(name, 40)} in all runs",
            "Means over layers. Thin: runs. Thick: the mean over a setting's runs. Shaded: the true windows.",
        )
    return figure


def _steps(
    values: np.ndarray[Any, Any], duration: float
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Each clip as a level stretch of time."""
    edges = np.linspace(0, duration, len(values) + 1)
    return np.repeat(edges, 2)[1:-1], np.repeat(values, 2)
