"""The section on single queries: their results, their gates, and whether the two go together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from ...runtime.brief import counted
from ..evaluation.evaluate import Evaluation
from ..evaluation.intervals import metric_intervals
from ..report.markdown import estimate, number, percent, plain, table
from ..statistics.bootstrap import FEW_VIDEOS, LEVEL, RESAMPLES, told_apart
from .measures import Measure
from .results import FAILING_IOU

RESULTS = {"ap": "mAP", "iou": "IoU"}
_NAMED = 5
_WORST = 10


def interval_of(row: dict[str, Any], name: str = "estimate", digits: int = 2, *, centre: float = 0.0) -> str:
    """An estimate and its interval, in bold where the interval can be believed and excludes ``centre``."""
    low_name, high_name = ("low", "high") if name == "estimate" else (f"{name}_low", f"{name}_high")
    value, low, high = row[name], row[low_name], row[high_name]
    bold = low is not None and low == low and told_apart(low, high, row["videos"], centre)
    return estimate(value, low, high, digits, bold=bold)


def place_cells(gate: str | None, layer: int | None) -> list[str]:
    """The first two cells of a row: which gates it is of."""
    return [plain(gate) if gate else "combined", "all" if layer is None else str(layer)]


def results_text(evaluation: Evaluation) -> str:
    """The benchmark's metrics with their intervals."""
    rows = [
        [row["metric"].replace("|", "\\|"), interval_of(row, "value", centre=-1.0).replace("**", "")]
        for row in metric_intervals(evaluation.per_query)
        .rename({"low": "value_low", "high": "value_high"})
        .iter_rows(named=True)
    ]
    per_query = evaluation.per_query
    notes = "".join(f"\n\n{plain(note, 600)}" for note in evaluation.notes)
    queries = "1 query" if per_query.height == 1 else f"{per_query.height:,} queries"
    return (
        f"### How good are the answers?\n\nThe benchmark's metrics over {queries} of "
        f"{counted(per_query['vid'].n_unique(), 'video')}, in percent, with {LEVEL:.0%} intervals by video "
        f"({RESAMPLES:,} resamples).\n\n{table(['metric', 'value'], rows)}{notes}"
    )


def rankings_text(top: pl.DataFrame, bottom: pl.DataFrame, kinds: Sequence[str]) -> str:
    """The ends of the combined ranking; takes frames in the order of the ranking, extremes first."""
    queried, judged = "query" in top.columns, "ap" in top.columns
    heads = ["combined", "qid", *(["query"] if queried else []), "mean of all gates"]
    heads += [plain(kind) for kind in kinds] + (list(RESULTS.values()) if judged else [])
    rows: list[list[str]] = []
    for place, part in (("largest", top.head(_NAMED)), ("smallest", bottom.head(_NAMED))):
        for row in part.iter_rows(named=True):
            text = [
                place,
                plain(row["qid"], 60),
                *([plain(row["query"] or "", 80)] if queried else []),
            ]
            numbers = [row["combined_mean"], *(row[f"{kind}_mean"] for kind in kinds)]
            numbers += [row[name] for name in RESULTS] if judged else []
            rows.append(text + [number(value) for value in numbers])
    return (
        "### Which queries have the largest and the smallest gates?\n\n"
        f"{table(heads, rows, text_columns=3 if queried else 2)}\n\nAll queries, ranked by every gate: "
        "`sample_rankings.csv`; the ends of every ranking: `detailed_gate_analysis.json`. Queries of one "
        "video may share its gates."
    )


def failures_text(
    known: pl.DataFrame, gates: pl.DataFrame, worst: pl.DataFrame, measures: Sequence[Measure]
) -> str:
    """How many queries fail, what their gates did, and the worst of them."""
    failed, none = int(known["failed"].sum()), int((known["ap"] == 0).sum())
    blocks = [
        "### Which queries fail, and what did their gates do?",
        f"{failed:,} of {known.height:,} queries fail: their first window overlaps no true one by "
        f"{FAILING_IOU:g} (IoU). {none:,} have an average precision of 0: no window reaches any threshold.",
    ]
    if not 0 < failed < known.height:
        blocks.append("There is nothing to compare: " + ("none fails." if failed == 0 else "all fail."))
    else:
        by_name = {row["name"]: row for row in gates.iter_rows(named=True)}
        rows = [
            [*place_cells(measure.gate, measure.layer), *_compared(by_name, measure)]
            for measure in measures
            if measure.statistic == "mean"
        ]
        heads = ["gate", "layer", "mean: failing", "others", "difference"]
        heads += ["\\|g\\|: failing", "others", "difference"]
        blocks += [table(heads, rows), chance(gates, "difference_")]
    if failed:
        blocks += ["The worst, with the place of their gates among all queries (0% smallest, 100% largest):"]
        kinds = list(dict.fromkeys(measure.gate for measure in measures if measure.gate))
        heads = ["qid", "query", *RESULTS.values(), *(f"{plain(kind)} mean (place)" for kind in kinds)]
        rows = [
            [
                plain(row["qid"], 60),
                plain(row["query"], 80),
                *(number(row[name]) for name in RESULTS),
                *(_placed(row, f"{kind}_mean") for kind in kinds),
            ]
            for row in worst.head(_WORST).iter_rows(named=True)
        ]
        blocks.append(table(heads, rows, text_columns=2))
    return "\n\n".join(blocks)


def correlations_text(correlations: pl.DataFrame) -> str:
    """Spearman's correlation of every gate with every result."""
    shown = correlations.filter(pl.col("method") == "spearman")
    title = "### Are queries with larger gates answered better?"
    if not shown["low"].is_finite().any():
        return f"{title}\n\nThere are too few videos, or gates or results do not vary: nothing can be said."
    results = shown["result"].unique(maintain_order=True).to_list()
    rows: list[list[str]] = []
    for (gate, layer), part in shown.group_by("gate", "layer", maintain_order=True):
        by_key = {(row["statistic"], row["result"]): row for row in part.iter_rows(named=True)}
        cells = [interval_of(by_key[s, result]) for result in results for s in ("mean", "mean_abs")]
        rows.append([*place_cells(gate, layer), *cells])  # type: ignore[arg-type]
    heads = ["gate", "layer"]
    heads += [f"{name} with {RESULTS[result]}" for result in results for name in ("mean", "\\|g\\|")]
    return "\n\n".join(
        [
            title,
            "Spearman's correlation over queries, with intervals by video; Pearson's stands in "
            "`detailed_gate_analysis.json`.",
            table(heads, rows),
            f"{chance(shown)} A correlation is not a cause: a video that is easy may open the "
            "gates and be answered well.",
        ]
    )


def agreement_text(agreement: pl.DataFrame) -> str:
    """Agreement of clip gates with windows and saliency, of the gates' values."""
    shown = agreement.filter(pl.col("statistic") == "value")
    rows: list[list[str]] = []
    for (layer, gate), part in shown.group_by("layer", "gate", maintain_order=True):
        by_measure = {row["measure"]: row for row in part.iter_rows(named=True)}
        cells = [
            interval_of(by_measure["auc"], digits=3, centre=0.5),
            *(
                interval_of(by_measure[name], digits=3)
                for name in ("window_correlation", "saliency_correlation")
            ),
        ]
        rows.append([*place_cells(gate, layer), *cells])  # type: ignore[arg-type]
    rows.sort(key=lambda row: row[0])
    heads = ["gate", "layer", "AUC, in a true window", "correlation with it", "with saliency"]
    counts = shown.filter(pl.col("measure") == "auc")["videos"]
    return "\n\n".join(
        [
            "### Do gates open on the clips that answer the query?",
            "Within each query: the chance that a clip inside a true window has the larger gate than one "
            "outside (AUC, 0.5: no agreement), and the correlation of the gate with being inside and with "
            f"the annotated saliency; averaged over {counted(max(counts, default=0), 'video')}, with "
            "intervals by video.",
            table(heads, rows),
        ]
    )


def chance(estimates: pl.DataFrame, prefix: str = "") -> str:
    """How many intervals exclude 0, and how many would by chance.

    Takes the columns ``{prefix}low``, ``{prefix}high`` and ``videos``.
    """
    known = estimates.filter(pl.col(f"{prefix}low").is_finite())
    if known.is_empty():
        return "There are too few videos for intervals."
    if (videos := max(known["videos"].to_list())) < FEW_VIDEOS:
        return (
            f"None is called an effect: intervals of {counted(videos, 'video')} are too narrow, and with no "
            "effect at all up to a quarter of them would exclude 0."
        )
    rows = known.select(f"{prefix}low", f"{prefix}high", "videos").iter_rows()
    told = sum(told_apart(*row) for row in rows)
    return (
        f"{told} of {known.height} intervals exclude 0 (bold); with no effect at all, "
        f"{(1 - LEVEL) * known.height:.0f} or so would by chance."
    )


def _compared(by_name: dict[str, dict[str, Any]], measure: Measure) -> list[str]:
    cells: list[str] = []
    for statistic in ("mean", "mean_abs"):
        row = by_name[Measure(measure.gate, measure.layer, statistic).name]
        cells += [number(row["subset"]), number(row["rest"]), interval_of(row, "difference", 3)]
    return cells


def _placed(row: dict[str, Any], name: str) -> str:
    value, place = row[name], row[f"{name}_place"]
    return number(value) if place is None or place != place else f"{number(value)} ({percent(place)})"
