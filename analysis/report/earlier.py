"""What scripts that read the earlier analyser's files look for: its keys, and its weighting of global gates.

The earlier analyser repeated a global gate over the clips (and channels) of its video, so that long videos
weigh more in its ``overall_statistics.json``; here every sample counts once. Both are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from ...runtime.gates.gatings import is_plain_global
from ..statistics.summary import GateSummary

# The earlier name of the attention gate; the others kept theirs.
_NAMES = {"attention": "mha"}
_RANKED = 10
_WEIGHTING = (
    "each sample counts as often as it has clips, as in the earlier analyser; the same keys outside this "
    "block count every sample once"
)


def earlier_weighting(summary: GateSummary, samples: pl.DataFrame) -> dict[str, Any] | None:
    """The keys of the earlier ``overall_statistics.json``, samples weighted by clips; None unless global.

    ``samples``: ``sample_id, clips`` of the run, one row a query or more.
    """
    if not is_plain_global(summary.gating):
        return None
    lengths = samples.select("sample_id", weight="clips").unique("sample_id", maintain_order=True)
    values = summary.per_sample.join(lengths, on="sample_id", how="left", maintain_order="left")
    values = values.filter(pl.col("mean").is_finite(), pl.col("weight") > 0)
    document: dict[str, Any] = {"weighting": _WEIGHTING}
    layers: dict[str, dict[str, float]] = {str(layer): {} for layer in summary.layers}
    for kind in summary.kinds:
        own = values.filter(pl.col("gate") == kind)
        document[f"{kind}_gates"] = _statistics(own)
        for layer in summary.layers:
            found = _statistics(own.filter(pl.col("layer") == layer))
            layers[str(layer)] |= {f"{kind}_mean": found["mean"], f"{kind}_std": found["std"]}
    return {**document, "layer_statistics": layers}


def _statistics(values: pl.DataFrame) -> dict[str, float]:
    every = np.repeat(values["mean"].to_numpy(), values["weight"].to_numpy())
    names = ("mean", "std", "min", "max", "median")
    if not every.size:
        return dict.fromkeys(names, float("nan"))
    return {name: float(getattr(np, name)(every)) for name in names}


def earlier_details(summary: GateSummary, joined: pl.DataFrame) -> dict[str, Any]:
    """The four keys of the earlier ``detailed_gate_analysis.json``.

    ``joined`` has a row a query with ``qid, sample_id``. A query's value is the mean of its sample's gates
    over clips and channels: the earlier file had a value per clip, and called the clip's place a qid.
    """
    layers: dict[str, dict[str, Any]] = {str(layer): {} for layer in summary.layers}
    for row in summary.by_layer.iter_rows(named=True):
        statistics = {name: row[name] for name in ("mean", "std", "min", "max", "count")}
        layers[str(row["layer"])][f"{_name(row['gate'])}_statistics"] = statistics
    qids: dict[str, list[str]] = {}
    for sample_id, qid in joined.select("sample_id", "qid").iter_rows():
        qids.setdefault(sample_id, []).append(qid)
    values: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = {}
    for sample_id, layer, gate, mean in summary.per_sample.select(
        "sample_id", "layer", "gate", "mean"
    ).iter_rows():
        entries = [{"qid": qid, "gate_value": mean} for qid in qids.get(sample_id, [])]
        values.setdefault(sample_id, {}).setdefault(str(layer), {})[f"{_name(gate)}_gates"] = entries
    return {
        "sample_count": summary.samples,
        "layer_gate_statistics": layers,
        "query_rankings": _rankings(summary.per_sample, summary.kinds, qids),
        "detailed_gate_values": values,
    }


def _rankings(
    per_sample: pl.DataFrame, kinds: Sequence[str], qids: dict[str, list[str]]
) -> dict[str, dict[str, list[list[Any]]]]:
    """By kind and for all together, the ten queries of the largest mean over layers, and the last ten."""
    finite = per_sample.filter(pl.col("mean").is_finite())
    means = finite.group_by("sample_id", "gate", maintain_order=True).agg(pl.col("mean").mean())
    whole = means.group_by("sample_id", maintain_order=True).agg(pl.col("mean").mean())
    tables = {f"{_name(kind)}_gates": means.filter(pl.col("gate") == kind) for kind in kinds}
    found: dict[str, dict[str, list[list[Any]]]] = {}
    for name, table in {**tables, "combined_gates": whole}.items():
        ranked = table.sort("mean", descending=True, maintain_order=True).select("sample_id", "mean")
        rows = [[qid, mean] for sample_id, mean in ranked.iter_rows() for qid in qids.get(sample_id, [])]
        found[name] = {"top_10": rows[:_RANKED], "bottom_10": rows[-_RANKED:]}
    return found


def _name(kind: str) -> str:
    return _NAMES.get(kind, kind)
