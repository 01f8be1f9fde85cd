"""What the samples' numbers say together, each with its interval by video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from ...runtime.array_types import Float64s
from ..report.context import Context
from ..statistics.bootstrap import Interval, VideoBootstrap
from ..statistics.wide import row_means, wide
from .clips import STRETCHES, ClipStatistics, clips_of


@dataclass(frozen=True)
class Relations:
    """Frames whose estimates ``x`` come with ``x_low`` and ``x_high``; NaN where nothing can be estimated.

    ``layer`` is null in the rows over all layers, where each sample has the mean of its layers.

    - ``levels``: one row a ``layer`` and ``gate``: ``mean`` and ``mean_abs`` of the samples' means, and
      ``contribution``.
    - ``pairs``: ``layer, gate, other_layer, other_gate``: ``over_samples``, the correlation of the samples'
      means, and ``over_clips``, the mean of the samples' own correlations over their clips.
    - ``strength``: ``layer, gate``: ``over_clips``, the mean of the samples' own correlations of gate and
      audio strength, and ``over_samples``, the correlation of their means.
    - ``course``: ``layer, gate, position`` (of the stretch's middle, 0..1) and ``mean``; no row
      of all layers.
    - ``by_strength``: ``layer, gate, tenth`` (of all clips, from the weakest, 0), ``strength`` (in its
      middle) and ``mean``; no row where no strength is known, and none of all layers.
    """

    levels: pl.DataFrame
    pairs: pl.DataFrame
    strength: pl.DataFrame
    course: pl.DataFrame
    by_strength: pl.DataFrame


@dataclass(frozen=True)
class _Column:
    """One gate of one layer, or of all layers (``layer`` None), by sample."""

    layer: int | None
    kind: str
    mean: Float64s
    mean_abs: Float64s
    contribution: Float64s
    strength: Float64s

    @property
    def key(self) -> tuple[int | None, str]:
        return self.layer, self.kind


def relations_of(context: Context) -> Relations:
    """How gates relate to each other, to a clip's place in its video and to the strength of the audio."""
    return relate(context.summary.per_sample, context.once(clips_of), context.bootstrap)


def relate(per_sample: pl.DataFrame, clips: ClipStatistics, bootstrap: VideoBootstrap) -> Relations:
    """Draw the relations out of ``GateSummary.per_sample`` and the clips' statistics.

    ``bootstrap`` is over the videos of ``clips.samples``, in their order.
    """
    columns = _columns(per_sample, clips)
    own = [one.key for one in columns]
    pairs = _pairs(columns, clips)
    strengths = np.repeat(clips.mean_strength[:, None], len(columns), axis=1)
    means = _stack([one.mean for one in columns], clips)
    levels = (
        bootstrap.means(means),
        bootstrap.means(_stack([one.mean_abs for one in columns], clips)),
        bootstrap.means(_stack([one.contribution for one in columns], clips)),
    )
    together = (
        bootstrap.correlations(
            _stack([one.mean for one, *_ in pairs], clips),
            _stack([other.mean for _, other, _ in pairs], clips),
        ),
        bootstrap.means(_stack([over_clips for *_, over_clips in pairs], clips)),
    )
    strength = (
        bootstrap.means(_stack([one.strength for one in columns], clips)),
        bootstrap.correlations(means, strengths),
    )
    positions = [(at + 0.5) / STRETCHES for at in range(STRETCHES)]
    tenths = range(len(clips.strengths))
    by_strength = _curves(clips, clips.by_strength[:, :, : len(tenths)], "tenth", tenths, bootstrap)
    middles = pl.DataFrame(
        {"tenth": tenths, "strength": clips.strengths}, schema={"tenth": pl.Float64, "strength": pl.Float64}
    )
    return Relations(
        levels=_frame(["layer", "gate"], own, ["mean", "mean_abs", "contribution"], levels),
        pairs=_frame(
            ["layer", "gate", "other_layer", "other_gate"],
            [(*one.key, *other.key) for one, other, _ in pairs],
            ["over_samples", "over_clips"],
            together,
        ),
        strength=_frame(["layer", "gate"], own, ["over_clips", "over_samples"], strength),
        course=_curves(clips, clips.course, "position", positions, bootstrap),
        by_strength=by_strength.join(middles, on="tenth", how="left", maintain_order="left"),
    )


def _columns(per_sample: pl.DataFrame, clips: ClipStatistics) -> list[_Column]:
    """Every gate, kind by kind, its layers first and then all of them together."""
    keys = clips.keys
    means = wide(per_sample, "mean", clips.samples, keys)
    sizes = wide(per_sample, "mean_abs", clips.samples, keys)
    columns: list[_Column] = []
    for kind in dict.fromkeys(key.kind for key in keys):
        own = [at for at, key in enumerate(keys) if key.kind == kind]
        places = [*((keys[at].layer, [at]) for at in own), (None, own)]
        columns += [
            _Column(
                layer,
                kind,
                row_means(means[:, at]),
                row_means(sizes[:, at]),
                row_means(clips.contribution[:, at]),
                row_means(clips.strength_correlations[:, at]),
            )
            for layer, at in places
        ]
    return columns


def _pairs(columns: Sequence[_Column], clips: ClipStatistics) -> list[tuple[_Column, _Column, Float64s]]:
    """Every two gates that are compared, with the samples' own correlations over clips."""
    of_key = {one.key: one for one in columns}
    keys = clips.keys
    pairs = [
        (of_key[keys[one]], of_key[keys[other]], clips.correlations[:, at])
        for at, (one, other) in enumerate(clips.pairs)
    ]
    whole = [one for one in columns if one.layer is None]
    for place, one in enumerate(whole):
        for other in whole[place + 1 :]:
            same_layer = [
                at
                for at, (left, right) in enumerate(clips.pairs)
                if (keys[left].kind, keys[right].kind) == (one.kind, other.kind)
            ]
            if same_layer:
                pairs.append((one, other, row_means(clips.correlations[:, same_layer])))
    return pairs


def _curves(
    clips: ClipStatistics, values: Float64s, name: str, places: Sequence[float], bootstrap: VideoBootstrap
) -> pl.DataFrame:
    """One row a gate and place where any sample has a value; ``values`` (samples, gates, places)."""
    # Gate by gate: all places of all gates at once would be the largest array of an analysis.
    found = [one for at in range(len(clips.keys)) for one in bootstrap.means(values[:, at])]
    rows = [(*key, place) for key in clips.keys for place in places]
    curves = _frame(["layer", "gate", name], rows, ["mean"], [found])
    return curves.filter(pl.col("mean").is_not_nan())


def _stack(columns: Sequence[Float64s], clips: ClipStatistics) -> Float64s:
    """Values by sample side by side, (samples, n); n may be 0."""
    return np.stack(columns, axis=1) if columns else np.empty((len(clips.samples), 0))


def _frame(
    keys: Sequence[str],
    rows: Sequence[tuple[object, ...]],
    measured: Sequence[str],
    intervals: Sequence[Sequence[Interval]],
) -> pl.DataFrame:
    """``rows`` of keys, and beside them what was ``measured``: of each an interval a row."""
    names = [*keys, *(f"{name}{end}" for name in measured for end in ("", "_low", "_high"))]
    types = {
        name: pl.UInt8 if name.endswith("layer") else pl.String if name.endswith("gate") else pl.Float64
        for name in names
    }
    content = [
        (*row, *(number for of in intervals for number in (of[at].estimate, of[at].low, of[at].high)))
        for at, row in enumerate(rows)
    ]
    return pl.DataFrame(content, schema=types, orient="row")
