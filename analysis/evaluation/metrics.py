"""The benchmark's JSON from per-query values: percent with two decimals under its own keys."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from .highlights import LEVELS
from .moments import RANGES, THRESHOLDS

#: The metrics of the benchmark's ``brief``, in its order, and the column of per-query values each averages.
METRICS: dict[str, str] = {
    "MR-full-R1@0.5": "r1_0.5",
    "MR-full-R1@0.7": "r1_0.7",
    "MR-full-mAP": "ap",
    "MR-full-mAP@0.5": "ap_0.5",
    "MR-full-mAP@0.75": "ap_0.75",
    "MR-long-mAP": "ap_long",
    "MR-middle-mAP": "ap_middle",
    "MR-short-mAP": "ap_short",
    **{
        f"HL-min-{level}-{name}": f"{column}_{level.lower()}"
        for level in LEVELS
        for name, column in (("mAP", "hl_ap"), ("Hit1", "hit1"))
    },
}


def short_metric(metric: str) -> str:
    """``mAP``, ``R1@0.5``, ``short mAP``, ``HL Good Hit1``: a metric's name as a reader calls it."""
    return metric.removeprefix("MR-").removeprefix("full-").replace("HL-min-", "HL ").replace("-", " ")


def benchmark_metrics(per_query: pl.DataFrame) -> dict[str, Any]:
    """``brief`` and the benchmark's sections, as far as ``per_query`` has their columns.

    A metric over no query, such as of short windows where all are long, is None.
    """
    sections: dict[str, Any] = {}
    if "hl_ap_fair" in per_query.columns:
        for level in LEVELS:
            columns = {"HL-mAP": f"hl_ap_{level.lower()}", "HL-Hit1": f"hit1_{level.lower()}"}
            sections[f"HL-min-{level}"] = {key: _percent(per_query, name) for key, name in columns.items()}
    if "ap" in per_query.columns:
        for name, range_ in RANGES.items():
            suffix = "" if range_ is None else f"_{name}"
            precision = {f"{at:g}": _percent(per_query, f"ap{suffix}_{at:g}") for at in THRESHOLDS}
            recall = {f"{at:g}": _percent(per_query, f"r1{suffix}_{at:g}") for at in THRESHOLDS}
            precision["average"] = _percent(per_query, f"ap{suffix}")
            sections[name] = {"MR-mAP": precision, "MR-R1": recall}
    brief = {
        metric: _percent(per_query, column)
        for metric, column in METRICS.items()
        if column in per_query.columns
    }
    return {"brief": brief, **dict(sorted(sections.items()))}


def _percent(per_query: pl.DataFrame, column: str) -> float | None:
    known = per_query[column].drop_nulls().to_numpy()
    return float(f"{100 * np.mean(known):.2f}") if known.size else None
