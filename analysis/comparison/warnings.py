"""What to know before believing a comparison of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from ...runtime.runs.reader import Run
from ..evaluation.evaluate import Evaluation
from ..statistics.bootstrap import FEW_VIDEOS


def comparison_warnings(
    names: Sequence[str], runs: Sequence[Run], gates: pl.DataFrame, evaluations: Mapping[str, Evaluation]
) -> list[str]:
    """Sentences in plain text, the gravest first. ``gates`` is that of ``compare_gates``."""
    found = [
        f"{name} is not finished: it is compared as far as it goes."
        for name, run in zip(names, runs, strict=True)
        if not run.finished
    ]
    first = names[0]
    for name, own in gates.filter(pl.col("run") != first).group_by("run", maintain_order=True):
        shared = own["shared_videos"].max()
        if shared is None:
            found.append(
                f"{name[0]} and {first} have no video, or no gate, in common: no differences can be told."
            )
        elif int(shared) < FEW_VIDEOS:  # type: ignore[arg-type]
            found.append(
                f"{name[0]} and {first} have only {shared} videos in common. Intervals of fewer than "
                f"{FEW_VIDEOS} come out too narrow, so no difference is called one."
            )
    found += _unlike(
        names, "the gating", [run.manifest.gating for run in runs], "a gate of one is not the gate of another"
    )
    layers = [str(run.manifest.layers) for run in runs]
    found += _unlike(names, "the number of layers", layers, "layer 0 is compared with layer 0, and so on")
    ranges = [
        ", ".join(
            f"{low:g} to {high:g}" for low, high in map(run.manifest.gate_range, run.manifest.gate_kinds)
        )
        for run in runs
    ]
    found += _unlike(names, "the range of their gates", ranges, "the same value does not mean the same")
    found += _unlike(
        names,
        "what multiplies a gate's branch",
        [
            ", ".join(f"{kind} {run.manifest.acts_as(kind)}" for kind in run.manifest.gate_kinds)
            for run in runs
        ],
        "where it is 1 + g (FiLM) a gate at 0 leaves its branch as it is, where it is g it leaves it out",
    )
    for name, run in zip(names, runs, strict=True):
        found += [f"{name}: {doubt}" for doubt in run.manifest.doubts]
    sizes = [str(run.samples.select(pl.col("qid").n_unique()).collect().item()) for run in runs]
    found += _unlike(
        names, "the number of queries", sizes, "levels are over each run's own, differences over shared ones"
    )
    without = [name for name in names if name not in evaluations]
    if evaluations and without:
        found.append(f"There are no metrics of {', '.join(without)}: no predictions were stored.")
    found += [f"{name}: {note}" for name, one in evaluations.items() for note in one.notes]
    return found


def _unlike(names: Sequence[str], what: str, told: Sequence[str], consequence: str) -> list[str]:
    if len(set(told)) < 2:
        return []
    each = "; ".join(f"{name}: {value}" for name, value in zip(names, told, strict=True))
    return [f"The runs differ in {what} ({each}): {consequence}."]
