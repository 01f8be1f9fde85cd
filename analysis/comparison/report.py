"""``COMPARISON.md``: which differences between runs can be told from chance, then all of them in tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import polars as pl

from ...runtime.runs.reader import Run
from ..evaluation.metrics import short_metric
from ..report.markdown import estimate, number, plain, shared_name, signed_number, table
from ..statistics.bootstrap import FEW_VIDEOS, LEVEL, RESAMPLES

COMPARISON_FIGURE = "run_comparison.png"
_NAMED = 3
_SHOWN = 24


def comparison_report(
    names: Sequence[str],
    runs: Sequence[Run],
    gates: pl.DataFrame,
    metrics: pl.DataFrame,
    settings: Sequence[tuple[str, tuple[str, ...]]],
    warnings: Sequence[str],
    own_report: str,
) -> str:
    """The whole report, Markdown; ``own_report`` is the name of each run's report in its own folder."""
    blocks = ["# Runs compared"]
    if warnings:
        lines = ["> **Read this first**", ">", *(f"> - ⚠ {plain(one, 600)}" for one in warnings)]
        blocks.append("\n".join(lines))
    blocks += [
        "\n".join(f"- {_verdict(name, names[0], gates, metrics)}" for name in names[1:]),
        f"![The runs side by side]({COMPARISON_FIGURE})",
        "## The runs",
        _overview(names, runs, metrics, own_report),
    ]
    if not metrics.is_empty():
        blocks += ["## Metrics", "Percent; differences in points.", _metrics(names, metrics)]
    blocks += [
        "## Gates",
        "The mean over videos, every video weighing the same; below it the mean of \\|g\\|.",
        _gates(names, gates),
        "## What differs between the runs",
        _settings(names, settings),
        "## How this was measured",
        f"Values: with {LEVEL:.0%} bootstrap intervals ({RESAMPLES:,} resamples of the videos, all "
        f"queries of a video together). Differences: against {plain(names[0])}, paired over the queries "
        "(gates: videos) that both runs have; their intervals hold together, over all metrics or all gates "
        "of a run, so that **bold** ones, which exclude 0, are not chance finds among many. With fewer than "
        f"{FEW_VIDEOS} shared videos nothing is bold. One run per setting does not show how much runs of the "
        "same setting differ among themselves: compare several seeds before crediting a setting.",
    ]
    return "\n\n".join(blocks) + "\n"


def _verdict(name: str, first: str, gates: pl.DataFrame, metrics: pl.DataFrame) -> str:
    told: list[str] = []
    for frame, noun in ((metrics, "metrics"), (gates.filter(statistic="mean"), "mean gates")):
        own = frame.filter(pl.col("run") == name, pl.col("difference").is_not_null())
        if own.is_empty():
            continue
        apart = own.filter("told_apart").sort(pl.col("difference").abs(), descending=True)
        if apart.is_empty():
            told.append(f"no difference in {noun} can be told from chance")
            continue
        digits = 2 if noun == "metrics" else 3
        named = [
            f"{_what(row)} {signed_number(row['difference'], digits)}"
            for row in apart.head(_NAMED).iter_rows(named=True)
        ]
        told.append(f"{apart.height} of {own.height} {noun} differ, most {', '.join(named)}")
    return f"**{plain(name)}** against {plain(first)}: {'; '.join(told) or 'nothing in common to compare'}."


def _what(row: dict[str, Any]) -> str:
    if "metric" in row:
        return plain(short_metric(row["metric"]))
    return f"{plain(row['gate'])} gate of layer {row['layer']}"


def _overview(names: Sequence[str], runs: Sequence[Run], metrics: pl.DataFrame, own_report: str) -> str:
    shown = [
        name for name in ("MR-full-mAP", "MR-full-R1@0.5", "MR-full-R1@0.7") if name in metrics["metric"]
    ]
    rows: list[list[str]] = []
    for name, run in zip(names, runs, strict=True):
        own = dict(metrics.filter(run=name).select("metric", "value").iter_rows())
        samples = run.samples.select(pl.col("qid").n_unique(), pl.col("vid").n_unique()).collect().row(0)
        rows.append(
            [
                f"[{plain(name)}]({quote(name)}/{own_report})",
                plain(run.manifest.gating),
                str(run.manifest.layers),
                *(f"{count:,}" for count in samples),
                *(number(own.get(metric), 2) for metric in shown),
                plain(shared_name(run.path.resolve()), 80),
            ]
        )
    metric_heads = [plain(short_metric(name)) for name in shown]
    return table(
        ["run", "gating", "layers", "queries", "videos", *metric_heads, "folder"], rows, text_columns=2
    )


def _metrics(names: Sequence[str], metrics: pl.DataFrame) -> str:
    keys = metrics["metric"].unique(maintain_order=True).to_list()
    rows = [[plain(short_metric(key)), *_cells(names, metrics.filter(metric=key), 2)] for key in keys]
    return table(["metric", *map(plain, names)], rows)


def _gates(names: Sequence[str], gates: pl.DataFrame) -> str:
    rows: list[list[str]] = []
    for statistic, label in (("mean", "mean"), ("mean_abs", "mean \\|g\\|")):
        of_it = gates.filter(statistic=statistic)
        for kind, layer in (
            of_it.select("gate", "layer").unique(maintain_order=True).sort("layer").iter_rows()
        ):
            own = of_it.filter(gate=kind, layer=layer)
            rows.append([plain(kind), str(layer), label, *_cells(names, own, 3)])
    kinds = gates["gate"].unique(maintain_order=True).to_list()
    rows.sort(key=lambda row: [plain(kind) for kind in kinds].index(row[0]))
    return table(["gate", "layer", "", *map(plain, names)], rows, text_columns=3)


def _cells(names: Sequence[str], own: pl.DataFrame, digits: int) -> list[str]:
    """Of each run its value with the interval, and beyond the first its difference with that interval."""
    by_run = {row["run"]: row for row in own.iter_rows(named=True)}
    cells: list[str] = []
    for name in names:
        row = by_run.get(name)
        if row is None:
            cells.append("–")
            continue
        cell = estimate(row["value"], row["low"], row["high"], digits)
        if row["difference"] is not None:
            low, high, bold = row["difference_low"], row["difference_high"], row["told_apart"]
            cell += f"<br>{estimate(row['difference'], low, high, digits, sign=True, bold=bold)}"
        cells.append(cell)
    return cells


def _settings(names: Sequence[str], settings: Sequence[tuple[str, tuple[str, ...]]]) -> str:
    if not settings:
        return "Nothing: model, data and machine are the same."
    rows = [[plain(what), *(plain(one, _SHOWN) for one in told)] for what, told in settings]
    return table(["", *map(plain, names)], rows, text_columns=1 + len(names))
