"""The chapter on subsets: only where some are named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from ...runtime.brief import counted
from ..evaluation.intervals import subset_metrics
from ..evaluation.known import evaluation_of
from ..figures.intervals import interval_figure
from ..figures.style import png
from ..queries.measures import Measure, distinct_measures, place_label, query_measures
from ..queries.words import interval_of, place_cells
from ..report.chapter import chapter
from ..report.context import Context
from ..report.markdown import number, plain, table
from ..report.section import Section
from ..statistics.bootstrap import FEW_VIDEOS, LEVEL
from ..statistics.subsets import subset_differences

METRICS_FIGURE = "subset_metrics.png"
GATES_FIGURE = "subset_gates.png"
# Each takes two panels; more are wider than a page.
_MOST_DRAWN = 3
_MEANING = (
    "Each subset against the queries outside it. Intervals of the differences are bootstrapped over "
    "videos; queries of one video stay together. A difference says that the queries differ, not why: "
    "`gatescope ablate --subset` reports what gates and audio do for each."
)


@chapter("Subsets")
def subsets_chapter(context: Context) -> Section | None:
    """Every metric and every gate of each subset against the rest; None without subsets."""
    if not context.options.subsets:
        return None
    evaluation = context.once(evaluation_of)
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
        blocks.append(_subset_text(name, found, len(qids), joined.height))
        document[name] = {"queries": found, "rest": joined.height - found}
        if evaluation is not None:
            compared = subset_metrics(evaluation.per_query, qids)
            blocks.append(metrics_text(compared))
            document[name]["metrics"] = compared.to_dicts()
            metrics.append(compared.with_columns(panel=pl.lit(name)))
        compared = subset_differences(joined, places["name"].to_list(), inside)
        blocks.append(_gates_text(compared, measures))
        compared = places.join(compared, on="name", maintain_order="left")
        document[name]["gates"] = compared.to_dicts()
        gates.append(compared.with_columns(panel=pl.lit(name)))
    text = "\n\n".join([_MEANING, *blocks])
    return Section(subsets_chapter.heading, text, _figures(metrics, gates), {"subsets": document})


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


def _subset_text(name: str, found: int, listed: int, total: int) -> str:
    """What a subset is: of the ``listed`` queries of its file ``found`` are among the run's ``total``."""
    missing = f" Its file names {listed - found:,} more that the run does not have." if listed > found else ""
    return (
        f"### {plain(name)}\n\n{found:,} of the run's {total:,} queries are in the subset, "
        f"{total - found:,} are the rest.{missing}"
    )


def metrics_text(compared: pl.DataFrame) -> str:
    """Every metric of the benchmark in percent, subset against rest."""
    heads = ["metric", "subset", "rest", "difference (points)"]
    rows = [
        [row["name"], number(row["subset"], 2), number(row["rest"], 2), interval_of(row, "difference")]
        for row in compared.iter_rows(named=True)
    ]
    return f"{table(heads, rows)}\n\n{_answer(compared)}"


def _gates_text(compared: pl.DataFrame, measures: Sequence[Measure]) -> str:
    """Every gate's mean and mean |g|, subset against rest."""
    by_name: dict[str, dict[str, Any]] = {row["name"]: row for row in compared.iter_rows(named=True)}
    rows: list[list[str]] = []
    for measure in measures:
        if measure.statistic != "mean":
            continue
        cells = place_cells(measure.gate, measure.layer)
        for statistic in ("mean", "mean_abs"):
            row = by_name[Measure(measure.gate, measure.layer, statistic).name]
            cells += [number(row["subset"]), number(row["rest"]), interval_of(row, "difference", 3)]
        rows.append(cells)
    heads = ["gate", "layer", "mean: subset", "rest", "difference"]
    heads += ["\\|g\\|: subset", "rest", "difference"]
    return f"{table(heads, rows)}\n\n{_told(compared)}"


def _answer(compared: pl.DataFrame) -> str:
    told = [
        f"{row['name']} ({'better' if row['difference'] > 0 else 'worse'})"
        for row in compared.iter_rows(named=True)
        if row["told_apart"]
    ]
    if not told:
        return f"No metric of the subset can be told apart from the rest. {_told(compared)}"
    return f"Told apart from the rest: {', '.join(told)}. {_told(compared)}"


def _told(compared: pl.DataFrame) -> str:
    """How many differences are told apart (bold), and of what the intervals are."""
    known = compared.filter(pl.col("difference_low").is_finite())
    if known.is_empty():
        return "There are too few videos for intervals."
    if (videos := max(known["videos"].to_list())) < FEW_VIDEOS:
        return (
            f"None is called an effect: the subset or the rest is of {counted(videos, 'video')}, and "
            f"intervals of fewer than {FEW_VIDEOS} are too narrow."
        )
    return (
        f"{known['told_apart'].sum()} of {known.height} differences are told apart (bold). All intervals "
        f"hold at once with a probability of {LEVEL:.0%}."
    )
