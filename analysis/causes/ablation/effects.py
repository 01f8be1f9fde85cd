"""By how much every intervention changes every metric, with intervals by video."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ....runtime.array_types import Float64s
from ...evaluation.metrics import METRICS
from ...statistics.bootstrap import Interval, VideoBootstrap
from ...statistics.simultaneous import simultaneous_intervals
from .interventions import Intervention

#: The metrics whose change is judged, in the order of tables and figures.
JUDGED = (
    "MR-full-mAP",
    "MR-full-R1@0.5",
    "MR-full-R1@0.7",
    *(name for name in METRICS if name.startswith("HL-")),
)


_INTERVAL = ("low", "high", "family_low", "family_high")


@dataclass(frozen=True)
class Effects:
    """What was found. All numbers are percent, their changes points of percent.

    - ``overall``: one row an intervention and metric: ``intervention, what, treatment, target, change, title,
      kind, layer, metric, before, after, effect, low, high, family_low, family_high, videos, told_apart``.
      ``low`` to ``high`` is the interval of this effect alone, ``family_low`` to ``family_high`` the one that
      holds together with all others of its family: the interventions on the audio are one family, those on
      the gates the other. ``told_apart`` says whether the latter excludes 0, and rests on enough videos.
    - ``subsets``: the same rows for each subset, with ``subset``; ``inside`` and ``rest``, the effect on its
      queries and on the others, each with ``…_low`` and ``…_high``; and their difference as ``effect`` with
      its intervals.
    - ``metrics``: which metrics there are, in order. ``queries``, ``videos``: how many were evaluated.
    - ``bootstrap``: the draws of videos behind the intervals.
    """

    overall: pl.DataFrame
    subsets: pl.DataFrame
    metrics: tuple[str, ...]
    queries: int
    videos: int
    bootstrap: VideoBootstrap

    @property
    def alone_excluding_zero(self) -> int:
        """How many intervals of single effects exclude 0; one in twenty would by chance."""
        excluding = (pl.col("low") > 0) & pl.col("low").is_not_nan() | (pl.col("high") < 0)
        return self.overall.filter(excluding).height


def judge(
    per_query: Iterable[tuple[Intervention, pl.DataFrame]], subsets: Mapping[str, frozenset[str]]
) -> Effects:
    """The effects of all interventions; the first one is the unchanged model.

    ``per_query`` gives ``Evaluation.per_query`` of each intervention, the same queries in the same order;
    only the judged columns of it are kept. ``subsets``: by name, the qids that belong to it.
    """
    several = iter(per_query)
    _, base = next(several)
    metrics = tuple(name for name in JUDGED if METRICS[name] in base.columns)
    before = _values(base, metrics)
    bootstrap = VideoBootstrap(base["vid"].to_list())
    inside = {name: base["qid"].is_in(list(qids)).to_numpy() for name, qids in subsets.items()}
    families: dict[str, list[_Change]] = {"audio": [], "gates": []}
    for one, frame in several:
        after = _values(frame, metrics)
        families[one.what] += [
            _Change(one, metric, before[:, place], after[:, place]) for place, metric in enumerate(metrics)
        ]
    overall: list[dict[str, Any]] = []
    compared: list[dict[str, Any]] = []
    for family in families.values():
        if family:
            overall += _overall(bootstrap, family)
            for name, chosen in inside.items():
                compared += _compared(bootstrap, family, name, chosen)
    return Effects(
        pl.DataFrame(overall, schema=_OVERALL),
        pl.DataFrame(compared, schema=_SUBSETS),
        metrics,
        base.height,
        int(base["vid"].n_unique()),
        bootstrap,
    )


@dataclass(frozen=True, eq=False)
class _Change:
    """One metric under one intervention, per query, in percent."""

    intervention: Intervention
    metric: str
    before: Float64s
    after: Float64s

    @property
    def difference(self) -> Float64s:
        return self.after - self.before

    def row(self, effect: Interval, family: Interval) -> dict[str, Any]:
        one = self.intervention
        return {
            "intervention": one.name,
            "what": one.what,
            "treatment": one.treatment,
            "target": one.target,
            "change": one.change,
            "title": one.title,
            "kind": one.kind,
            "layer": one.layer,
            "metric": self.metric,
            "before": _mean(self.before),
            "after": _mean(self.after),
            "effect": effect.estimate,
            "low": effect.low,
            "high": effect.high,
            "family_low": family.low,
            "family_high": family.high,
            "videos": family.videos,
            "told_apart": family.told_apart,
        }


_OVERALL: dict[str, Any] = {
    **dict.fromkeys(("intervention", "what", "treatment", "target", "change", "title", "kind"), pl.String),
    "layer": pl.Int64,
    "metric": pl.String,
    **dict.fromkeys(("before", "after", "effect", *_INTERVAL), pl.Float64),
    "videos": pl.Int64,
    "told_apart": pl.Boolean,
}
_SIDES = tuple(f"{side}{end}" for side in ("inside", "rest") for end in ("", "_low", "_high"))
_SUBSETS: dict[str, Any] = {
    "subset": pl.String,
    **_OVERALL,
    **dict.fromkeys(_SIDES, pl.Float64),
    "inside_queries": pl.Int64,
    "rest_queries": pl.Int64,
}


def _overall(bootstrap: VideoBootstrap, family: Sequence[_Change]) -> list[dict[str, Any]]:
    """One row a change, over all queries."""
    columns = np.stack([change.difference for change in family], axis=1)
    alone = bootstrap.means(columns)
    together = _together(bootstrap, alone, bootstrap.drawn_means(columns), 100.0)
    return [change.row(one, wide) for change, one, wide in zip(family, alone, together, strict=True)]


def _compared(
    bootstrap: VideoBootstrap, family: Sequence[_Change], name: str, inside: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """One row a change: its effect inside the subset and on the rest, and the difference of the two."""
    columns = np.stack([change.difference for change in family], axis=1)
    parts = [np.where(chosen[:, None], columns, np.nan) for chosen in (inside, ~inside)]
    one, other = (bootstrap.means(part) for part in parts)
    alone = [
        _resting_on(bootstrap.subset_difference(change.difference, inside), min(left.videos, right.videos))
        for change, left, right in zip(family, one, other, strict=True)
    ]
    drawn = bootstrap.drawn_means(parts[0]) - bootstrap.drawn_means(parts[1])
    rows: list[dict[str, Any]] = []
    for place, wide in enumerate(_together(bootstrap, alone, drawn, 200.0)):
        row = {"subset": name, **family[place].row(alone[place], wide)}
        for side, found, part in zip(("inside", "rest"), (one, other), parts, strict=True):
            interval = found[place]
            row |= {side: interval.estimate, f"{side}_low": interval.low, f"{side}_high": interval.high}
            row[f"{side}_queries"] = int((~np.isnan(part[:, place])).sum())
        rows.append(row)
    return rows


def _resting_on(difference: Interval, videos: int) -> Interval:
    """A difference is no surer than its smaller side: without two videos there it has no interval."""
    if videos >= 2:
        return replace(difference, videos=videos)
    return replace(difference, videos=videos, low=math.nan, high=math.nan)


def _together(
    bootstrap: VideoBootstrap, alone: Sequence[Interval], drawn: Float64s, most: float
) -> list[Interval]:
    """Intervals of a family, none beyond what a change can be: ±``most`` points."""
    family = simultaneous_intervals(
        [one.estimate for one in alone], drawn, [one.videos for one in alone], level=bootstrap.level
    )
    return [
        replace(one, low=float(np.maximum(one.low, -most)), high=float(np.minimum(one.high, most)))
        for one in family
    ]


def _values(per_query: pl.DataFrame, metrics: Sequence[str]) -> Float64s:
    """(queries, metrics) in percent, NaN where a query has none."""
    chosen = per_query.select(pl.col(METRICS[name]).cast(pl.Float64).alias(name) for name in metrics)
    return 100 * chosen.fill_null(np.nan).to_numpy()


def _mean(values: Float64s) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
