"""What every setting reaches over its seeds and videos, and how it differs from the first setting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from ...statistics.bootstrap import LEVEL
from ...statistics.repeats import RepeatedDifference, repeated_difference, repeated_mean
from ...statistics.student import each_of
from .settings import Repeat, Setting, SettingGroup
from .values import (
    TOP5,
    RunValues,
    UnitValues,
    averaged,
    gate_of,
    over_domains,
    seeds_by_units,
    shared_units,
)

#: Metrics in which settings are told apart; the others are shown.
HEADLINE = (
    "MR-full-mAP",
    "MR-full-R1@0.5",
    "MR-full-R1@0.7",
    "HL-min-VeryGood-mAP",
    "HL-min-VeryGood-Hit1",
    TOP5,
)
#: The statistic of gates in which settings are told apart.
TOLD_STATISTIC = "mean_abs"

_COLUMNS: dict[str, Any] = {
    "dataset": pl.String,
    "setting": pl.String,
    "quantity": pl.String,
    **dict.fromkeys(("value", "spread", "low", "high"), pl.Float64),
    "seeds": pl.Int64,
    "units": pl.Int64,
    **dict.fromkeys(("difference", "difference_low", "difference_high"), pl.Float64),
    "difference_seeds": pl.Int64,
    "difference_units": pl.Int64,
    "told_apart": pl.Boolean,
}


def repeat_values(setting: Setting, values: Mapping[str, RunValues]) -> dict[str, RunValues]:
    """By name of the repeat, its numbers; ``values`` by run.

    Of a setting with domains only repeats that have all of its domains: a mean over fewer is another number.
    """
    domains = {run.domain for repeat in setting.repeats for run in repeat.runs}
    found: dict[str, RunValues] = {}
    for repeat in setting.repeats:
        if domains == {None}:
            found[repeat.name] = averaged([values[run.name] for run in repeat.runs])
        elif {run.domain for run in repeat.runs} == domains:
            found[repeat.name] = over_domains(_by_domain(repeat, values))
    return found


def _by_domain(repeat: Repeat, values: Mapping[str, RunValues]) -> dict[str, list[RunValues]]:
    found: dict[str, list[RunValues]] = {}
    for run in repeat.runs:
        found.setdefault(str(run.domain), []).append(values[run.name])
    return found


def setting_levels(group: SettingGroup, values: Mapping[str, RunValues]) -> pl.DataFrame:
    """One row per setting and quantity that all of the setting's repeats have.

    Gives ``dataset, setting, quantity``; ``value``, the mean over ``seeds`` repeats and ``units`` videos (or
    domains) that all repeats have, its ``spread`` (standard deviation over seeds, null with one) and the
    interval ``low``, ``high``, by itself; ``difference`` from the group's first setting over the
    ``difference_units`` that both have, null for the first. Intervals of differences hold together: over the
    :data:`HEADLINE` metrics of a setting, and over the :data:`TOLD_STATISTIC` of its gates; those of other
    quantities are each by themselves, and none of them is ``told_apart``. Metrics are in percent.
    """
    repeats = [[*repeat_values(setting, values).values()] for setting in group.settings]
    rows: list[dict[str, Any]] = []
    for place, (setting, own) in enumerate(zip(group.settings, repeats, strict=True)):
        quantities = [name for name in own[0] if all(name in one for one in own)] if own else []
        differences = _differences(repeats[0], own, quantities) if place else {}
        for name in quantities:
            units = shared_units([one[name] for one in own])
            if not units:
                continue
            level = repeated_mean(seeds_by_units([one[name] for one in own], units))
            rows.append(
                {
                    "dataset": group.name,
                    "setting": setting.name,
                    "quantity": name,
                    "value": level.estimate,
                    "spread": level.spread,
                    "low": max(level.low, _least(name)),
                    "high": min(level.high, _most(name)),
                    "seeds": level.seeds,
                    "units": level.units,
                    **differences.get(name, {}),
                }
            )
    return pl.DataFrame(rows, schema=_COLUMNS).with_columns(pl.selectors.float().fill_nan(None))


def _least(quantity: str) -> float:
    """What no value of the quantity is below, whatever Student's t says: sizes and shares are not below 0."""
    gate = gate_of(quantity)
    return -math.inf if gate is not None and gate[2] == "mean" else 0.0


def _most(quantity: str) -> float:
    return 100.0 if gate_of(quantity) is None else math.inf


def _differences(
    first: Sequence[RunValues], other: Sequence[RunValues], quantities: Sequence[str]
) -> dict[str, dict[str, Any]]:
    shared = [name for name in quantities if first and all(name in one for one in first)]
    families = {True: [name for name in shared if name in HEADLINE], False: _told_gates(shared)}
    levels = {name: each_of(LEVEL, len(own)) for own in families.values() for name in own}
    found: dict[str, dict[str, Any]] = {}
    for name in shared:
        difference = _difference(
            [one[name] for one in first], [one[name] for one in other], levels.get(name, LEVEL)
        )
        if difference is not None:
            found[name] = {
                "difference": difference.estimate,
                "difference_low": difference.low,
                "difference_high": difference.high,
                "difference_seeds": difference.seeds,
                "difference_units": difference.units,
                "told_apart": name in levels and difference.told_apart,
            }
    return found


def _told_gates(quantities: Sequence[str]) -> list[str]:
    return [name for name in quantities if (gate := gate_of(name)) and gate[2] == TOLD_STATISTIC]


def _difference(
    first: Sequence[UnitValues], other: Sequence[UnitValues], level: float
) -> RepeatedDifference | None:
    units = shared_units([*first, *other])
    if not units:
        return None
    return repeated_difference(seeds_by_units(first, units), seeds_by_units(other, units), level=level)


def repeat_means(group: SettingGroup, values: Mapping[str, RunValues]) -> pl.DataFrame:
    """Every repeat's own numbers: ``dataset, setting, seed, quantity, value``, one row each."""
    rows = [
        (group.name, setting.name, seed, name, found.mean)
        for setting in group.settings
        for seed, own in repeat_values(setting, values).items()
        for name, found in own.items()
    ]
    keys = ("dataset", "setting", "seed", "quantity")
    return pl.DataFrame(rows, schema={**dict.fromkeys(keys, pl.String), "value": pl.Float64}, orient="row")
