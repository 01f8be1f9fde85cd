"""Every run's numbers by video, so that runs can be set against each other over what they share.

A metric is a mean over queries, a gate's level a mean over videos. Both are kept as sums and counts by
*unit*, which is the video; of a dataset with domains it is the domain, each counting once, as TVSum is
published. Numbers that are known of a run as a whole only have the unit :data:`WHOLE`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from ....runtime.array_types import Float64s
from ...evaluation.evaluate import Evaluation
from ...evaluation.metrics import METRICS
from ...statistics.summary import GateSummary

#: The unit of a number that is known of a run as a whole.
WHOLE = "(the whole run)"
#: TVSum's metric, in percent.
TOP5 = "HL-top5-mAP"
#: Statistics of a gate that are compared: its mean over clips, averaged over videos.
GATE_STATISTICS = ("mean_abs", "mean", "share_saturated", "share_near_zero")


@dataclass(frozen=True)
class UnitValues:
    """One quantity of one run. ``units`` (n,): names; ``sums``, ``counts`` (n,): over their queries."""

    units: tuple[str, ...]
    sums: Float64s
    counts: Float64s

    @property
    def mean(self) -> float:
        """The quantity of the whole run."""
        return float(self.sums.sum() / self.counts.sum())


#: By quantity: a metric's name, or ``kind/layer/statistic`` of a gate.
RunValues = Mapping[str, UnitValues]


def gate_quantity(kind: str, layer: int, statistic: str) -> str:
    """The name of a gate's number."""
    return f"{kind}/{layer}/{statistic}"


def gate_of(quantity: str) -> tuple[str, int, str] | None:
    """Kind, layer and statistic of a gate's number; None for a metric."""
    parts = quantity.rsplit("/", 2)
    return (parts[0], int(parts[1]), parts[2]) if len(parts) == 3 and parts[1].isdigit() else None


def metric_values(evaluation: Evaluation) -> dict[str, UnitValues]:
    """The benchmark's ``brief`` by video, in percent."""
    table = evaluation.per_query
    named = {metric: column for metric, column in METRICS.items() if column in table.columns}
    summed = table.group_by("vid", maintain_order=True).agg(
        *(pl.col(column).sum().cast(pl.Float64).alias(f"{metric} sum") for metric, column in named.items()),
        *(
            pl.col(column).count().cast(pl.Float64).alias(f"{metric} count")
            for metric, column in named.items()
        ),
    )
    return {
        metric: found
        for metric in named
        if (found := _known(summed["vid"], 100 * summed[f"{metric} sum"], summed[f"{metric} count"]))
    }


def gate_values(summary: GateSummary, videos: pl.DataFrame) -> dict[str, UnitValues]:
    """The gates' levels by video; queries of one video are averaged. ``videos``: see ``videos_of``."""
    rows = summary.per_sample.filter(pl.col("count") > 0).join(videos, on="sample_id", how="left")
    rows = rows.with_columns(pl.col("vid").fill_null(pl.col("sample_id")))
    by_video = rows.group_by("gate", "layer", "vid", maintain_order=True).agg(
        pl.col(name).mean() for name in GATE_STATISTICS
    )
    found: dict[str, UnitValues] = {}
    for kind in summary.kinds:
        for layer in summary.layers:
            own = by_video.filter(gate=kind, layer=layer)
            for statistic in GATE_STATISTICS if own.height else ():
                values = own[statistic].to_numpy()
                units = tuple(own["vid"].to_list())
                found[gate_quantity(kind, layer, statistic)] = UnitValues(units, values, np.ones(len(values)))
    return found


def whole_values(numbers: Mapping[str, float]) -> dict[str, UnitValues]:
    """Numbers of a run of which nothing is known by video."""
    return {name: UnitValues((WHOLE,), np.array([value]), np.ones(1)) for name, value in numbers.items()}


def over_domains(by_domain: Mapping[str, Sequence[RunValues]]) -> dict[str, UnitValues]:
    """One repeat of a dataset with domains: each domain's own mean is one unit."""
    quantities = dict.fromkeys(name for runs in by_domain.values() for run in runs for name in run)
    found: dict[str, UnitValues] = {}
    for name in quantities:
        means = {
            domain: float(np.mean([run[name].mean for run in runs if name in run]))
            for domain, runs in by_domain.items()
            if any(name in run for run in runs)
        }
        found[name] = UnitValues(tuple(means), np.array([*means.values()]), np.ones(len(means)))
    return found


def averaged(runs: Sequence[RunValues]) -> RunValues:
    """Runs of one seed as one: the mean of each unit over the runs that all have it."""
    if len(runs) == 1:
        return runs[0]
    found: dict[str, UnitValues] = {}
    for name in runs[0]:
        own = [run[name] for run in runs if name in run]
        units = shared_units(own)
        if len(own) == len(runs) and units:
            sums, counts = zip(*(_at(one, units) for one in own), strict=True)
            found[name] = UnitValues(units, np.mean(sums, axis=0), np.mean(counts, axis=0))
    return found


def shared_units(values: Sequence[UnitValues]) -> tuple[str, ...]:
    """The units that all of ``values`` have, in the order of the first."""
    sets = [set(one.units) for one in values[1:]]
    return tuple(unit for unit in values[0].units if all(unit in one for one in sets))


def seeds_by_units(values: Sequence[UnitValues], units: Sequence[str]) -> Float64s:
    """The table (runs, units) whose row means are the runs' quantities over ``units``.

    An entry is the run's mean plus what the unit moves it by, n · (Σy − c·mean) / Σc: with one query per
    video that is the query's own value, and else the linear part of a mean over clusters.
    """
    rows: list[Float64s] = []
    for one in values:
        sums, counts = _at(one, units)
        mean = sums.sum() / counts.sum()
        rows.append(mean + len(units) / counts.sum() * (sums - counts * mean))
    return np.stack(rows)


def _at(values: UnitValues, units: Sequence[str]) -> tuple[Float64s, Float64s]:
    place = {unit: at for at, unit in enumerate(values.units)}
    order = [place[unit] for unit in units]
    return values.sums[order], values.counts[order]


def _known(units: pl.Series, sums: pl.Series, counts: pl.Series) -> UnitValues | None:
    """Without units of which nothing is known; None where nothing is known at all."""
    known = (counts > 0).to_numpy()
    if not known.any():
        return None
    names = tuple(units.filter(pl.Series(known)).to_list())
    return UnitValues(names, sums.to_numpy()[known], counts.to_numpy()[known])
