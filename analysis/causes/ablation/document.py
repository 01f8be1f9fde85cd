"""``ablation.json``: every effect with its intervals, and what it was measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from ...statistics.bootstrap import BOOTSTRAP_SEED
from .effects import Effects
from .plan import AblationPlan
from .verdicts import audio_verdict, gate_verdict, row_verdict, subset_verdict, unmarked

_EFFECT = ("before", "after", "effect", "low", "high", "family_low", "family_high", "told_apart")
_SIDES = ("inside", "inside_low", "inside_high", "rest", "rest_low", "rest_high")
_DIFFERENCE = ("effect", "low", "high", "family_low", "family_high", "told_apart")


def ablation_document(
    plan: AblationPlan, effects: Effects, metrics: Mapping[str, Any], warnings: Sequence[str]
) -> dict[str, Any]:
    """The document; ``metrics`` are the benchmark's own of the unchanged model (``Evaluation.metrics``)."""
    run = plan.run
    names = effects.overall["intervention"].unique(maintain_order=True).to_list()
    subsets = effects.subsets["subset"].unique(maintain_order=True).to_list()
    return {
        "model": {
            "path": run.model.path,
            "sha256": run.model.sha256,
            "gating": run.manifest.gating,
            "batching": run.manifest.batching,
            "gates_act_as": {kind: run.manifest.acts_as(kind) for kind in run.manifest.gate_kinds},
        },
        "annotations": {"path": run.annotations.path, "sha256": run.annotations.sha256},
        "queries": effects.queries,
        "videos": effects.videos,
        "batch_size": run.batch_size,
        "device": run.device,
        "donor_seed": plan.donor_seed,
        "bootstrap": {
            "unit": "video",
            "resamples": effects.bootstrap.resamples,
            "seed": BOOTSTRAP_SEED,
            "level": effects.bootstrap.level,
        },
        "unchanged": metrics,
        "gate_means": plan.gate_means,
        "effects_whose_own_interval_excludes_zero": effects.alone_excluding_zero,
        "verdicts": {
            "audio": unmarked(audio_verdict(effects)),
            "gates": unmarked(gate_verdict(effects)),
            "subsets": {
                name: unmarked(subset_verdict(effects.subsets.filter(subset=name, what="audio"), name))
                for name in subsets
            },
        },
        "interventions": {name: _intervention(effects, name, subsets) for name in names},
        "warnings": list(warnings),
    }


def _intervention(effects: Effects, name: str, subsets: Sequence[str]) -> dict[str, Any]:
    rows = effects.overall.filter(intervention=name)
    first = rows.row(0, named=True)
    told = {key: first[key] for key in ("title", "what", "treatment", "kind", "layer")}
    told["verdict"] = row_verdict(rows)
    told["metrics"] = _by_metric(rows, _EFFECT)
    if subsets:
        own = effects.subsets.filter(intervention=name)
        told["subsets"] = {subset: _subset(own.filter(subset=subset)) for subset in subsets}
    return told


def _subset(rows: pl.DataFrame) -> dict[str, Any]:
    sides, differences = _by_metric(rows, _SIDES), _by_metric(rows, _DIFFERENCE)
    counts = _by_metric(rows, ("inside_queries", "rest_queries"))
    return {
        metric: {**counts[metric], **sides[metric], "difference": differences[metric]} for metric in sides
    }


def _by_metric(rows: pl.DataFrame, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {row["metric"]: {name: row[name] for name in names} for row in rows.iter_rows(named=True)}
