"""The chapter on subsets: only where some are named."""

from __future__ import annotations

from typing import Any

import polars as pl

from ..context import Context
from ..evaluation.intervals import subset_metrics
from ..figures.intervals import interval_figure
from ..figures.style import png
from ..queries.measures import distinct_measures, place_label, query_measures
from ..report.section import Section
from ..statistics.subsets import subset_differences
from . import words as text

METRICS_FIGURE = "subset_metrics.png"
GATES_FIGURE = "subset_gates.png"
# Each takes two panels; more are wider than a page.
_MOST_DRAWN = 3


def subsets_chapter(context: Context) -> Section | None:
    """Every metric and every gate of each subset against the rest; None without subsets."""
    if not context.options.subsets:
        return None
    measures = distinct_measures(context.summary)
    joined = query_measures(context.summary.per_sample, context.queries, measures)
    places = pl.DataFrame(
        {
            "name": [measure.name for measure in measures],
            "gate": pl.Series([measure.gate for measure in measures], dtype=pl.String),
            "layer": pl.Series([measure.layer for measure in measures], dtype=pl.Int64),
            "statistic": [measure.statistic for measure in measures],
        }
    )
    blocks: list[str] = []
    document: dict[str, Any] = {}
    metrics: list[pl.DataFrame] = []
    gates: list[pl.DataFrame] = []
    for name, qids in context.options.subsets.items():
        inside = joined["qid"].is_in(list(qids))
        found = int(inside.sum())
        blocks.append(text.subset_text(name, found, len(qids), joined.height))
        document[name] = {"queries": found, "rest": joined.height - found}
        if context.evaluation is not None:
            compared = subset_metrics(context.evaluation.per_query, qids)
            blocks.append(text.metrics_text(compared))
            document[name]["metrics"] = compared.to_dicts()
            metrics.append(compared.with_columns(panel=pl.lit(name)))
        compared = subset_differences(joined, places["name"].to_list(), inside)
        blocks.append(text.gates_text(compared, measures))
        compared = places.join(compared, on="name", maintain_order="left")
        document[name]["gates"] = compared.to_dicts()
        gates.append(compared.with_columns(panel=pl.lit(name)))
    return text.subsets_section(blocks, _figures(metrics, gates), document)


def _figures(metrics: list[pl.DataFrame], gates: list[pl.DataFrame]) -> dict[str, bytes]:
    figures: dict[str, bytes] = {}
    said = "Subset less rest; 95% intervals by video, for all at once."
    if len(gates) > _MOST_DRAWN:
        said += f" The first {_MOST_DRAWN} of {len(gates)} subsets."
    if metrics:
        whole = pl.concat(metrics[:_MOST_DRAWN])
        shown = _drawable(whole.with_columns(gate=pl.lit(None, pl.String), label=pl.col("name")))
        figure = interval_figure(shown, "Are the subset's queries answered better?", said, axis="points")
        figures[METRICS_FIGURE] = png(figure)
    whole = pl.concat(gates[:_MOST_DRAWN])
    statistics = {"mean": "mean gate", "mean_abs": "mean |g|"}
    panel = pl.concat_str("panel", pl.lit(": "), pl.col("statistic").replace_strict(statistics))
    shown = _drawable(whole.with_columns(panel=panel, label=place_label()))
    figure = interval_figure(
        shown, "Are the gates of the subset's queries different?", said, axis="difference"
    )
    return {**figures, GATES_FIGURE: png(figure)}


def _drawable(compared: pl.DataFrame) -> pl.DataFrame:
    return compared.select(
        "panel",
        "gate",
        "label",
        "videos",
        estimate="difference",
        low="difference_low",
        high="difference_high",
    )
