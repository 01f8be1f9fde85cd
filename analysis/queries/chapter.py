"""The chapter on single queries, with the files that rank them."""

from __future__ import annotations

from typing import Any

import polars as pl

from ..evaluation.intervals import metric_intervals
from ..evaluation.known import evaluation_of, truth_of
from ..figures.intervals import interval_figure
from ..figures.layer_statistics import layer_statistics_figure
from ..figures.rankings import ranking_figure
from ..figures.style import png
from ..report.chapter import chapter
from ..report.context import Context
from ..report.document import to_json
from ..report.earlier import earlier_details
from ..report.section import Section
from . import words as text
from .agreement import gate_agreement, has_clips
from .measures import Measure, distinct_measures, measures_of, place_label, query_measures
from .rankings import ends_of_ranking, layer_averages, measure_means, ranking_document, sample_rankings
from .results import failing, gate_correlations, gates_of_failing, worst_queries

RANKINGS = "query_gate_rankings.png"
LAYER_STATISTICS_FIGURE = "layer_gate_statistics.png"
CORRELATIONS_FIGURE = "gate_correlations.png"
AGREEMENT = "gate_agreement.png"
DETAILS = "detailed_gate_analysis.json"
LAYER_TABLE = "layer_gate_averages.csv"
RANKING_TABLE = "sample_rankings.csv"

_NO_TRUTH = (
    "Whether these queries were answered well is not known here: give `--annotations` with ground truth, and "
    "a run with predictions, to join gates and results."
)


@chapter("Queries")
def queries_chapter(context: Context) -> Section:
    """Queries ranked by their gates; with ground truth, also which fail and whether gates go with results."""
    summary, evaluation, truth = context.summary, context.once(evaluation_of), context.once(truth_of)
    measures = measures_of(summary)
    joined = joined_queries(context, measures)
    means = measure_means(joined, measures)
    subtitle = f"{summary.gating.capitalize()} gating, {_queries(joined.height)}."

    combined = ends_of_ranking(joined, measures[0].name)
    ranked = {
        gate: ends_of_ranking(joined, Measure(gate, None, "mean").name) for gate in (None, *summary.kinds)
    }
    ends = [
        (gate, top.with_columns(value=name), bottom.with_columns(value=name))
        for gate, (top, bottom) in ranked.items()
        for name in [Measure(gate, None, "mean").name]
        if gate is not None or len(summary.kinds) > 1
    ]
    known = joined[measures[0].name].count()
    figures = {
        RANKINGS: png(ranking_figure(ends, known, subtitle)),
        LAYER_STATISTICS_FIGURE: png(layer_statistics_figure(summary.per_sample, means, subtitle)),
    }
    blocks = [text.rankings_text(*combined, summary.kinds)]
    found: dict[str, Any] = {}
    if evaluation is None:
        blocks.append(_NO_TRUTH)
    else:
        blocks.insert(0, text.results_text(evaluation))
        if "ap" in joined.columns:
            _results(joined, distinct_measures(summary), subtitle, blocks, figures, found)
    if truth is not None and has_clips(context.run):
        agreement = gate_agreement(context.run, truth)
        if not agreement.is_empty():
            blocks.append(text.agreement_text(agreement))
            figures[AGREEMENT] = png(_agreement_figure(agreement, subtitle))
            found["agreement"] = agreement.to_dicts()
    details = {
        "total_samples": summary.samples,
        "total_queries": joined.height,
        "gating_type": summary.gating,
        "num_layers": len(summary.layers),
        "means": means.to_dicts(),
        "rankings": ranking_document(joined, measures),
        **found,
        **earlier_details(summary, joined),
    }
    document: dict[str, Any] = {"queries": found} if found else {}
    if evaluation is not None:
        intervals = metric_intervals(evaluation.per_query).rows_by_key("metric", named=True, unique=True)
        document |= {"metrics": evaluation.metrics, "metric_intervals": intervals}
    files = {
        DETAILS: to_json(details).encode(),
        LAYER_TABLE: _csv(layer_averages(summary.by_layer, context.spread, means)),
        RANKING_TABLE: _csv(sample_rankings(joined, measures)),
    }
    return Section(queries_chapter.heading, "\n\n".join(blocks), figures, document, files)


def joined_queries(context: Context, measures: list[Measure]) -> pl.DataFrame:
    """One row a query of the run with its measures and, where it is evaluated, ``query`` and its results."""
    joined = query_measures(context.summary.per_sample, context.queries, measures)
    evaluation = context.once(evaluation_of)
    if evaluation is None:
        return joined
    results = evaluation.per_query.drop("vid", "duration")
    short = [name for name in results.columns if name in {"qid", "query", *text.RESULTS}]
    return joined.join(results.select(short), on="qid", how="left", maintain_order="left")


def _results(
    joined: pl.DataFrame,
    measures: list[Measure],
    subtitle: str,
    blocks: list[str],
    figures: dict[str, bytes],
    found: dict[str, Any],
) -> None:
    """Adds what gates and results have to do with one another."""
    known = failing(joined)
    gates = gates_of_failing(known, measures)
    worst = worst_queries(known, measures)
    correlations = gate_correlations(known, measures, list(text.RESULTS))
    blocks += [
        text.failures_text(known, gates, worst, measures),
        text.correlations_text(correlations),
    ]
    if correlations["low"].is_finite().any():
        figures[CORRELATIONS_FIGURE] = png(_correlation_figure(correlations, subtitle))
    found["failures"] = {
        "queries": known.height,
        "iou_below_0.5": worst["qid"].to_list(),
        "ap_zero": known.filter(pl.col("ap") == 0)["qid"].to_list(),
        "gates": gates.to_dicts(),
    }
    found["correlations"] = correlations.to_dicts()


def _correlation_figure(correlations: pl.DataFrame, subtitle: str) -> Any:
    shown = correlations.filter(pl.col("method") == "spearman").select(
        panel=pl.concat_str(
            pl.col("statistic").replace_strict({"mean": "mean gate", "mean_abs": "mean |g|"}),
            pl.lit(" with "),
            pl.col("result").replace_strict(text.RESULTS),
        ),
        gate="gate",
        label=place_label(),
        estimate="estimate",
        low="low",
        high="high",
        videos="videos",
    )
    return interval_figure(
        shown,
        "Do larger gates go with better answers?",
        f"Spearman's correlation over queries, 95% intervals by video. {subtitle}",
        axis="correlation",
    )


def _agreement_figure(agreement: pl.DataFrame, subtitle: str) -> Any:
    shown = agreement.filter(pl.col("measure") == "auc").sort("gate", "layer", maintain_order=True)
    return interval_figure(
        shown.select(
            panel=pl.col("statistic").replace_strict({"value": "gate value", "size": "gate size |g|"}),
            gate="gate",
            label=place_label(),
            estimate="estimate",
            low="low",
            high="high",
            videos="videos",
        ),
        "Do gates open on the clips that answer the query?",
        f"Area under the ROC curve, clips in a true window against the rest; mean over videos. {subtitle}",
        centre=0.5,
        axis="AUC within a query",
    )


def _queries(count: int) -> str:
    return "1 query" if count == 1 else f"{count:,} queries"


def _csv(frame: pl.DataFrame) -> bytes:
    return frame.write_csv().encode()
