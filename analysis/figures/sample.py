"""``gate_analysis_{id}.png``: one sample's gates over its clips, and its level next to the run's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from .style import (
    INK,
    MISSING,
    QUIET,
    Figure,
    grid,
    kind_colour,
    kind_name,
    new_figure,
    short,
    style,
    value_scale,
)

# In inches: a figure whose panels never move needs no layout to be worked out, which takes most of the time.
_WIDTH = 11.0
_HEAD, _FOOT, _GAP = 0.75, 0.75, 0.55
_LEFT, _MAP, _BAR, _LEVELS = 0.65, 5.9, 0.95, 3.1
_ROW = 0.36

Course = NDArray[np.float64]


@dataclass(frozen=True)
class _Panels:
    """What changes from sample to sample, of one kind of gate."""

    map: Axes
    image: AxesImage
    own_middle: LineCollection
    own_mean: Line2D


class SamplePicture:
    """Draws samples of one run, one after the other, into the same figure: a tenth of the time of a new one.

    - ``by_layer``, ``per_sample``: of the run's ``GateSummary``. ``ranges``: of each kind of gate.
    - ``largest``: by kind, the largest \\|gate\\| of a clip; all samples, and all kinds that are signed, are
      drawn on the same scale.
    """

    def __init__(
        self,
        by_layer: pl.DataFrame,
        per_sample: pl.DataFrame,
        ranges: Mapping[str, tuple[float, float]],
        largest: Mapping[str, float],
    ) -> None:
        self._kinds = [kind for kind in ranges if (by_layer["gate"] == kind).any()]
        self._layers: list[int] = sorted(by_layer["layer"].unique().to_list())
        panel = max(1.1, _ROW * len(self._layers))
        height = _HEAD + _FOOT + len(self._kinds) * panel + (len(self._kinds) - 1) * _GAP
        with style():
            self.figure = new_figure(_WIDTH, height)
            self.figure.set_layout_engine("none")
            self._title = self.figure.text(0.015, 1 - 0.14 / height, "", va="top", fontsize=13, weight="bold")
            self._note = self.figure.text(0.015, 0.1 / height, "", va="bottom", fontsize=8.5, color=QUIET)
            self._panels: dict[str, _Panels] = {}
            for place, kind in enumerate(self._kinds):
                bottom = height - _HEAD - panel - place * (panel + _GAP)
                whole = by_layer.filter(pl.col("gate") == kind)
                compared = [one for one in self._kinds if _signed(ranges[one]) == _signed(ranges[kind])]
                most = max(largest.get(one, 0.0) for one in compared)
                spread = per_sample.filter(pl.col("gate").is_in(compared))
                self._panels[kind] = self._prepare(
                    kind, whole, ranges[kind], most, spread, (bottom / height, panel / height)
                )

    def show(
        self,
        sample_id: str,
        courses: Mapping[str, Course],
        statistics: Mapping[tuple[int, str], Mapping[str, Any]],
        note: str = "",
    ) -> Figure:
        """The figure, now of this sample.

        - ``courses``: by kind (layers, clips), the mean over channels; one column for a gate that is one
          value per video; NaN where there is none. ``statistics``: the sample's rows by layer and kind.
        """
        self._title.set_text(f"Gates of sample {short(sample_id, 60)}")
        self._note.set_text(
            f"{note} Right: mean and middle half of this sample, grey: of all. All samples are on one scale."
        )
        for kind, panels in self._panels.items():
            course = courses.get(kind, np.full((len(self._layers), 1), np.nan))
            clips = course.shape[1]
            panels.image.set_data(np.ma.masked_invalid(course))
            panels.image.set_extent((-0.5, clips - 0.5, -0.5, len(self._layers) - 0.5))
            panels.map.set_xlim(-0.5, clips - 0.5)
            if clips == 1:
                panels.map.set_xticks([0], ["one value for the whole sample"])
            else:
                step = max(1, 5 * round(clips / 50)) if clips > 20 else max(1, round(clips / 10))
                panels.map.set_xticks(range(0, clips, step), [str(at) for at in range(0, clips, step)])
            panels.map.set_xlabel("clip" if clips > 1 and kind == self._kinds[-1] else "")
            rows = [statistics.get((layer, kind)) for layer in self._layers]
            known = [(at, row) for at, row in enumerate(rows) if row is not None and row["count"]]
            panels.own_middle.set_segments([[(row["p25"], at), (row["p75"], at)] for at, row in known])
            panels.own_mean.set_data([row["mean"] for _, row in known], [at for at, _ in known])
        return self.figure

    def _prepare(
        self,
        kind: str,
        whole: pl.DataFrame,
        range_: tuple[float, float],
        largest: float,
        spread: pl.DataFrame,
        vertical: tuple[float, float],
    ) -> _Panels:
        bottom, height = vertical
        axes = self.figure.add_axes((_LEFT / _WIDTH, bottom, _MAP / _WIDTH, height))
        colours, scale = value_scale(*range_, largest)
        image = axes.imshow(
            np.zeros((len(self._layers), 1)),
            cmap=colormaps[colours].with_extremes(bad=MISSING),
            norm=scale,
            aspect="auto",
            origin="lower",
            interpolation="nearest",
        )
        axes.set_title(kind_name(kind))
        self._layer_axis(axes)
        axes.spines[:].set_visible(False)
        axes.tick_params(axis="y", length=0)
        bar_axes = self.figure.add_axes(((_LEFT + _MAP + 0.1) / _WIDTH, bottom, 0.12 / _WIDTH, height))
        bar = self.figure.colorbar(ScalarMappable(scale, colours), cax=bar_axes)
        bar.outline.set_visible(False)  # type: ignore[operator]
        levels = self.figure.add_axes(
            ((_LEFT + _MAP + _BAR) / _WIDTH, bottom, _LEVELS / _WIDTH, height), sharey=axes
        )
        colour = kind_colour(self._kinds, kind)
        at = [self._layers.index(layer) for layer in whole["layer"].to_list()]
        levels.hlines(at, whole["p25"], whole["p75"], color=MISSING, linewidth=9)
        levels.plot(whole["mean"], at, "|", color=QUIET, markersize=10, markeredgewidth=1.5)
        own_middle = LineCollection([], colors=[colour], linewidths=3.5, alpha=0.8)
        levels.add_collection(own_middle)
        (own_mean,) = levels.plot([], [], "o", color=colour, markersize=6, markeredgecolor="white")
        levels.axvline(0, color=QUIET, linewidth=0.8, zorder=0)
        levels.set_xlim(*_limits(whole, spread, range_))
        levels.set_title("Level of this sample")
        levels.tick_params(axis="y", labelleft=False, length=0)
        if kind == self._kinds[-1]:
            levels.set_xlabel("gate value")
        grid(levels, "x")
        return _Panels(axes, image, own_middle, own_mean)

    def _layer_axis(self, axes: Axes) -> None:
        shown = range(0, len(self._layers), 1 + len(self._layers) // 24)
        axes.set_yticks(list(shown), [str(self._layers[at]) for at in shown], color=INK)
        axes.set_ylabel("layer")
        axes.set_ylim(-0.5, len(self._layers) - 0.5)


def _limits(whole: pl.DataFrame, spread: pl.DataFrame, range_: tuple[float, float]) -> tuple[float, float]:
    """As wide as any sample's middle half, and not narrower than what is drawn of the run."""
    ends = [spread[name] for name in ("p25", "p75", "mean")] + [whole[name] for name in ("p25", "p75")]
    values = np.concatenate([one.to_numpy() for one in ends])
    values = values[np.isfinite(values)]
    _, scale = value_scale(*range_, float(np.abs(values).max(initial=0.0)))
    low, high = scale.vmin or 0.0, scale.vmax or 0.0
    edge = 0.03 * (high - low)
    return low - edge, high + edge


def _signed(range_: tuple[float, float]) -> bool:
    return range_[0] < 0 < range_[1]
