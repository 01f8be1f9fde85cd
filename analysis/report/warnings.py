"""What a reader must know before believing a report: everything that makes it less than it seems."""

from __future__ import annotations

import polars as pl

from ...runtime.runs.reader import Run
from ..statistics.summary import GateSummary
from .markdown import counted

_NAMED = 5


def run_warnings(run: Run, summary: GateSummary) -> list[str]:
    """Sentences in plain text, the gravest first; those of the manifest last."""
    found: list[str] = []
    record = run.record
    if not run.finished:
        found.append(
            f"The run is not finished: {summary.samples} of {record.samples} samples are analysed. "
            "Continue it with `gatescope run … --resume` and analyse again."
        )
    if record.skipped:
        named = "; ".join(f"{sample.sample_id}: {sample.reason}" for sample in record.skipped[:_NAMED])
        more = f"; and {len(record.skipped) - _NAMED} more" if len(record.skipped) > _NAMED else ""
        found.append(f"{counted(len(record.skipped), 'sample')} left out of the run ({named}{more}).")
    expected = len(run.manifest.gates)
    counts = summary.per_sample.group_by("sample_id").len()
    if lacking := counts.filter(pl.col("len") != expected).height:
        found.append(
            f"{counted(lacking, 'sample')} without all of the {expected} gates that the model declares."
        )
    for row in summary.by_layer.filter(pl.col("nan_count") + pl.col("inf_count") > 0).iter_rows(named=True):
        found.append(
            f"Layer {row['layer']}, {row['gate']} gate: {row['nan_count']} values are NaN and "
            f"{row['inf_count']} infinite; the statistics are over the other {row['count']}."
        )
    return [*found, *run.manifest.warnings]
