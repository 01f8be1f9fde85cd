"""A campaign for machines: ``campaign.json`` and tables of all cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from ...evaluation.metrics import METRICS
from ...statistics.bootstrap import LEVEL
from .members import CampaignFolder, CampaignRun
from .numbers import RunNumbers
from .settings import Setting, SettingGroup
from .values import GATE_STATISTICS, TOP5, gate_of

_METRICS = (*METRICS, TOP5)


def campaign_document(
    campaign: CampaignFolder,
    groups: Sequence[SettingGroup],
    levels: pl.DataFrame,
    repeats: pl.DataFrame,
    numbers: Mapping[str, RunNumbers],
    warnings: Sequence[str],
) -> dict[str, Any]:
    """The content of ``campaign.json``."""
    return {
        "format_version": 1,
        "level": LEVEL,
        "datasets": [
            {
                "name": group.name,
                "domains": list(group.domains),
                "options_that_differ": list(group.differs),
                "settings": [
                    {
                        "name": setting.name,
                        "options": setting.options,
                        "repeats": [
                            {"seed": repeat.seed, "runs": [run.name for run in repeat.runs]}
                            for repeat in setting.repeats
                        ],
                    }
                    for setting in group.settings
                ],
                "missing": list(group.missing),
            }
            for group in groups
        ],
        "runs": {
            run.name: {
                "source": None if run.member is None else run.member.source,
                "checkpoint_sha256": run.run.manifest.checkpoint_sha256,
                "epoch": run.training.epoch,
                "metrics_from": numbers[run.name].source,
            }
            for group in groups
            for run in group.runs
        },
        "failed": campaign.failed,
        "same_checkpoint": campaign.same,
        "levels": levels.to_dicts(),
        "repeats": repeats.to_dicts(),
        "warnings": list(warnings),
    }


def cells_table(groups: Sequence[SettingGroup], numbers: Mapping[str, RunNumbers]) -> pl.DataFrame:
    """One row per run: what it is, its metrics, and training's own as ``training …``; percent."""
    rows: list[dict[str, Any]] = []
    for group, setting, seed, run in _runs(groups):
        own = numbers[run.name]
        metrics = {name: own.values[name].mean for name in _METRICS if name in own.values}
        trained = {f"training {name}": own.trained[name] for name in _METRICS if name in own.trained}
        rows.append({**_key(group, setting, seed, run), "metrics_from": own.source, **metrics, **trained})
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame([{name: row.get(name) for name in names} for row in rows], infer_schema_length=None)


def gates_table(groups: Sequence[SettingGroup], numbers: Mapping[str, RunNumbers]) -> pl.DataFrame:
    """One row per run, kind of gate and layer, with the means over its videos."""
    rows: list[dict[str, Any]] = []
    for group, setting, seed, run in _runs(groups):
        own: dict[tuple[str, int], dict[str, float]] = {}
        for name, values in numbers[run.name].values.items():
            if (gate := gate_of(name)) is not None:
                own.setdefault(gate[:2], {})[gate[2]] = values.mean
        for (kind, layer), found in own.items():
            row = {**_key(group, setting, seed, run), "gate": kind, "layer": layer}
            rows.append({**row, **{name: found.get(name) for name in GATE_STATISTICS}})
    return pl.DataFrame(rows, infer_schema_length=None)


def _runs(groups: Sequence[SettingGroup]) -> list[tuple[SettingGroup, Setting, str, CampaignRun]]:
    return [
        (group, setting, repeat.name, run)
        for group in groups
        for setting in group.settings
        for repeat in setting.repeats
        for run in repeat.runs
    ]


def _key(group: SettingGroup, setting: Setting, seed: str, run: CampaignRun) -> dict[str, Any]:
    return {
        "dataset": group.name,
        "setting": setting.name,
        "seed": seed,
        "domain": run.domain,
        "run": run.name,
        "epoch": run.training.epoch,
    }
