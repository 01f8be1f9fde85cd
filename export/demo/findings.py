"""What the demo's gates turned out to do: their means where the event is, and how well they find it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...runtime.runs.reader import open_run
from .plan import DemoPlan

EVENT, ELSEWHERE, SILENT = "event", "elsewhere", "silent"


def gate_findings(plan: DemoPlan, run: Path, statistics: dict[str, Any]) -> pl.DataFrame:
    """One row per layer and gate: ``layer, gate, event, elsewhere, silent, auc``.

    Means of the gate over the clips with the event, over the others of videos with sound, and over silent
    videos; NaN where the plan has none. ``auc``: the area under the ROC curve of gate against event, as the
    report in ``statistics`` has it.
    """
    table = open_run(run).gates.join(_places(plan).lazy(), on=["sample_id", "clip"])
    means = (
        table.group_by("layer", "gate", "place", maintain_order=True).agg(pl.col("value").mean()).collect()
    )
    areas = pl.DataFrame(statistics["event_recovery"]["gates"], schema_overrides={"layer": pl.UInt8}).select(
        "layer", "gate", "auc"
    )
    for place in (EVENT, ELSEWHERE, SILENT):
        there = means.filter(pl.col("place") == place).select("layer", "gate", pl.col("value").alias(place))
        areas = areas.join(there, on=["layer", "gate"], how="left", maintain_order="left")
    return areas.select("layer", "gate", EVENT, ELSEWHERE, SILENT, "auc")


def _places(plan: DemoPlan) -> pl.DataFrame:
    """What is planted in each clip; a video's queries share its gates, so the first stands for all."""
    first = {query.video.vid: query for query in reversed(plan.queries)}
    frames = [
        pl.DataFrame(
            {
                "sample_id": [str(query.qid)] * query.video.clips,
                "clip": np.arange(query.video.clips, dtype=np.uint16),
                "place": [SILENT] * query.video.clips
                if query.video.silent
                else np.where(query.video.event > 0, EVENT, ELSEWHERE).tolist(),
            }
        )
        for query in first.values()
    ]
    return pl.concat(frames)
