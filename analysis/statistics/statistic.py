"""The statistics of a gate, each one object: what it is called, how it is computed and how it is shown.

Report, JSON, CSV and page read :data:`STATISTICS`. A new statistic of what is accumulated already is one
entry here; one that needs more accumulates it in :mod:`gatescope.runtime.statistics.moments` first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ...runtime.statistics.moments import MomentSummary

#: What a statistic is about, in the order of the report's columns.
GROUPS = ("level", "spread", "order", "share", "shape", "count")
StatisticGroup = Literal["level", "spread", "order", "share", "shape", "count"]


@dataclass(frozen=True)
class Measured:
    """What a stream of gate values adds up to. ``percentiles``: values by percent. ``entropy``: in bits."""

    moments: MomentSummary
    percentiles: Mapping[float, float]
    entropy: float


@dataclass(frozen=True)
class Statistic:
    """One number of a stream of gate values.

    - ``name``: its column in every frame and CSV, and its key in JSON. ``of``: how it is computed.
      ``group``: what it is about; shares are shown in percent.
    - ``heading``: its column in "The gates in numbers", plain text; empty: not shown there.
    - ``percentile``: the percent of which it is the percentile; None for others.
    - ``on_page``: whether the page's chart and table of samples have it.
    """

    name: str
    group: StatisticGroup
    of: Callable[[Measured], float]
    heading: str = ""
    percentile: float | None = None
    on_page: bool = False


def _moment(name: str, group: StatisticGroup, heading: str = "", *, on_page: bool = False) -> Statistic:
    return Statistic(name, group, lambda found: getattr(found.moments, name), heading, on_page=on_page)


def _percentile(name: str, percentile: float, heading: str) -> Statistic:
    return Statistic(name, "order", lambda found: found.percentiles[percentile], heading, percentile)


#: In the order of the columns that every frame of statistics has after its keys.
STATISTICS: tuple[Statistic, ...] = (
    _moment("count", "count"),
    _moment("mean", "level", "mean", on_page=True),
    _moment("std", "spread", "std"),
    _moment("min", "order", "min"),
    _percentile("p25", 25.0, "25%"),
    _percentile("median", 50.0, "median"),
    _percentile("p75", 75.0, "75%"),
    _percentile("p95", 95.0, "95%"),
    _moment("max", "order", "max"),
    _moment("mean_abs", "level", "mean |g|", on_page=True),
    _moment("share_positive", "share", "positive"),
    _moment("share_saturated", "share", "saturated"),
    _moment("share_near_zero", "share", "near 0"),
    _moment("share_rails", "share"),
    Statistic("entropy", "shape", lambda found: found.entropy),
    _moment("nan_count", "count"),
    _moment("inf_count", "count"),
)

#: The percents of all percentiles, ascending.
PERCENTILES = tuple(one.percentile for one in STATISTICS if one.percentile is not None)
