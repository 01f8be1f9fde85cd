"""``overall_statistics.json``: the statistics of a run under the keys that users' scripts read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import polars as pl

from ..statistics.statistic import STATISTICS, Statistic
from ..statistics.summary import GateSummary

# The keys that the earlier analyser wrote, in its order; the others follow.
_EARLIER = ("mean", "std", "min", "max", "median")


def statistics_document(
    summary: GateSummary,
    spread: pl.DataFrame,
    videos: int,
    *,
    finished: bool,
    warnings: Sequence[str],
) -> dict[str, Any]:
    """The document.

    ``spread`` is of :func:`~gatescope.analysis.statistics.videos.spread_over_videos`; ``videos`` is how many
    videos the samples are of.
    """
    document: dict[str, Any] = {
        "total_samples": summary.samples,
        "total_videos": videos,
        "gating_type": summary.gating,
        "num_layers": len(summary.layers),
        "run_finished": finished,
        "warnings": list(warnings),
    }
    for row in summary.overall.iter_rows(named=True):
        low, high = summary.ranges[row["gate"]]
        acts_as = "1+g" if row["gate"] in summary.film else "g"
        document[f"{row['gate']}_gates"] = {
            **statistics_block(row),
            "range": [low, high],
            "acts_as": acts_as,
        }
    layers: dict[str, dict[str, Any]] = {str(layer): {} for layer in summary.layers}
    for row in summary.by_layer.iter_rows(named=True):
        layer, kind = layers[str(row["layer"])], row["gate"]
        layer[f"{kind}_mean"] = row["mean"]
        layer[f"{kind}_std"] = row["std"]
        layer[f"{kind}_gates"] = statistics_block(row)
    for row in spread.iter_rows(named=True):
        layers[str(row["layer"])][f"{row['gate']}_gates"] |= {
            "std_between_videos": row["between"],
            "std_within_videos": row["within"],
        }
    document["layer_statistics"] = layers
    return document


def to_json(document: dict[str, Any]) -> str:
    """Valid JSON always: numbers that are not (NaN, ±Inf) become null."""
    return json.dumps(_without_nan(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def statistics_block(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of statistics under the keys that users' scripts read."""
    plain = sorted((one for one in STATISTICS if not _nested(one)), key=_place)
    nested = [one for one in STATISTICS if _nested(one)]
    percentiles = {f"{one.percentile:g}": row[one.name] for one in nested}
    return {**{one.name: row[one.name] for one in plain}, "percentiles": percentiles}


def _nested(statistic: Statistic) -> bool:
    return statistic.percentile is not None and statistic.name not in _EARLIER


def _place(statistic: Statistic) -> tuple[int, bool]:
    """The earlier keys first, counts last."""
    earlier = statistic.name in _EARLIER
    return _EARLIER.index(statistic.name) if earlier else len(_EARLIER), statistic.group == "count"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in cast(list[Any], value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value
