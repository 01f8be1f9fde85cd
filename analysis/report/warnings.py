"""What a reader must know before believing a report: everything that makes it less than it seems."""

from __future__ import annotations

import polars as pl

from ...runtime.brief import counted
from ...runtime.runs.coverage import shortfall_texts
from ...runtime.runs.info import told_skipped
from ...runtime.runs.reader import Run
from ..statistics.summary import GateSummary

# Half precision's step just below 1, the largest rounding that a gate within its range may show.
_ROUNDING = 2**-10


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
        named = "; ".join(told_skipped(record.skipped))
        found.append(f"{counted(len(record.skipped), 'sample')} left out of the run ({named}).")
    recipe = run.manifest.preprocessing
    found += [f"{text}." for text in shortfall_texts(record.coverage, record.samples, recipe)]
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
    return [*found, *_beyond_their_ranges(summary), *run.manifest.doubts, *run.manifest.warnings]


def _beyond_their_ranges(summary: GateSummary) -> list[str]:
    """Gates that left the range their model declares, as overridden ones may."""
    found: list[str] = []
    for row in summary.overall.filter(pl.col("count") > 0).iter_rows(named=True):
        low, high = summary.ranges[row["gate"]]
        if row["min"] < low - _ROUNDING or row["max"] > high + _ROUNDING:
            found.append(
                f"The {row['gate']} gate reaches from {row['min']:.4g} to {row['max']:.4g}, beyond the range "
                f"that the model declares, {low:.4g} to {high:.4g}, as it can where gates are overridden: "
                "shares of saturated values say nothing of it, entropy and histograms leave out what lies "
                "beyond."
            )
    return found
