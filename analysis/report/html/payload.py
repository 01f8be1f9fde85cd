"""The data behind the page's tables and charts, as JSON that no text in it can break out of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ...statistics.statistic import STATISTICS
from ...statistics.summary import GateSummary
from ...timelines.timeline import Timeline

#: Samples beyond these are counted, not shown.
MOST_LISTED_SAMPLES = 5000
# Letters of an id and of a query that are kept; of queries fewer where all together would fill the page.
_LONGEST_ID = 200
_LONGEST_QUERY = (300, 200, 100, 50)
_MOST_WORDS = 4_000_000
# Numbers by sample, layer and kind; beyond it a model of very many layers would fill the page.
_MOST_LAYER_NUMBERS = 200_000

# Per-query metrics that the table shows where an evaluation has them, each with its heading.
_METRICS = {
    "ap": "AP",
    "iou": "IoU",
    "r1_0.5": "R1@0.5",
    "r1_0.7": "R1@0.7",
    "hl_ap_verygood": "HL AP",
    "hit1_verygood": "HL Hit1",
}


@dataclass(frozen=True)
class Payload:
    """``data``: what becomes JSON. ``left_out``: what it lacks, in sentences of plain text."""

    data: dict[str, Any]
    left_out: tuple[str, ...]


def payload(
    summary: GateSummary,
    queries: pl.DataFrame,
    levels: pl.DataFrame,
    texts: Mapping[str, str],
    timelines: Sequence[Timeline],
    per_query: pl.DataFrame | None = None,
) -> Payload:
    """What the page shows. One row of its table is a query; queries of one sample share its gates.

    ``levels``: of :class:`~gatescope.analysis.relations.relations.Relations`. ``texts``: the queries' words
    by qid. ``per_query``: each query's own metrics by ``qid``, fractions.
    """
    left_out: list[str] = []
    shown = _shown(queries, {one.exemplar.qid for one in timelines})
    if shown.height < queries.height:
        left_out.append(
            f"The table and the chart hold {shown.height:,} of {queries.height:,} queries; "
            "statistics are over all."
        )
    qids = shown["qid"].to_list()
    words = [texts.get(qid, "") for qid in qids]
    longest = next((n for n in _LONGEST_QUERY if _size(words, n) <= _MOST_WORDS), _LONGEST_QUERY[-1])
    for what, ones, most in (("ids", qids, _LONGEST_ID), ("queries", words, longest)):
        if cut := sum(len(one) > most for one in ones):
            left_out.append(f"{cut:,} {what} are cut after {most} characters.")
    by_layer = shown.height * len(summary.layers) * len(summary.kinds) <= _MOST_LAYER_NUMBERS
    if not by_layer:
        left_out.append("The chart of samples has means over layers only, not layer by layer.")
    row_of = {qid: row for row, qid in enumerate(qids)}
    data: dict[str, Any] = {
        "kinds": [{"id": kind, "range": list(summary.ranges[kind])} for kind in summary.kinds],
        "layers": list(summary.layers),
        "statistics": [{"id": one.name, "heading": one.heading} for one in STATISTICS if one.on_page],
        "levels": [[_value(value) for value in row] for row in _level_rows(levels)],
        "qid": [_cut(qid, _LONGEST_ID) for qid in qids],
        "vid": [_cut(vid, _LONGEST_ID) for vid in shown["vid"].to_list()],
        "query": [_cut(text, longest) for text in words],
        "clips": shown["clips"].to_list(),
        "gates": _gates(summary, shown, by_layer),
        "metrics": _metrics(shown, per_query),
        "timelines": [_timeline(one, row_of[one.exemplar.qid], summary.kinds) for one in timelines],
    }
    return Payload(data, tuple(left_out))


def to_script(data: dict[str, Any]) -> str:
    """JSON for a ``<script>`` element: valid, and without a sign that could end it or begin a comment."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def shown_number(value: float | None) -> float | None:
    """A number with five decimals, which the page shows with three as the Markdown report does.

    Where rounding twice, or a browser's way with halves, could change the third, it has three. None for what
    is no number.
    """
    if value is None or not math.isfinite(value):
        return None
    three, five = float(f"{value:.3f}"), float(f"{value:.5f}")
    return five if abs(five - three) < 4.9e-4 else three


def _level_rows(levels: pl.DataFrame) -> list[tuple[Any, ...]]:
    ends = ("", "_low", "_high")
    return levels.select(
        "layer", "gate", *(f"{of}{end}" for of in ("mean", "mean_abs") for end in ends)
    ).rows()


def _value(value: Any) -> Any:
    return shown_number(value) if isinstance(value, float) else value


def _size(texts: Sequence[str], longest: int) -> int:
    """Bytes that ``texts``, cut to ``longest`` letters, take in the page."""
    return sum(len(to_script({"": text[:longest]}).encode()) for text in texts)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _shown(queries: pl.DataFrame, exemplars: set[str]) -> pl.DataFrame:
    """The first queries in the run's order, and every exemplar."""
    if queries.height <= MOST_LISTED_SAMPLES:
        return queries
    marked = queries.with_row_index("place").with_columns(exemplar=pl.col("qid").is_in(list(exemplars)))
    kept = marked.sort("exemplar", "place", descending=[True, False]).head(MOST_LISTED_SAMPLES)
    return kept.sort("place").select(queries.columns)


def _gates(summary: GateSummary, shown: pl.DataFrame, by_layer: bool) -> dict[str, dict[str, list[Any]]]:
    """By kind and statistic, columns by query: first over all layers, then of each layer."""
    finite = summary.per_sample.filter(pl.col("count") > 0)
    gates: dict[str, dict[str, list[Any]]] = {}
    names = [one.name for one in STATISTICS if one.on_page]
    for kind in summary.kinds:
        of_kind = finite.filter(pl.col("gate") == kind)
        parts = [of_kind.group_by("sample_id").agg(pl.col(names).mean())]
        if by_layer:
            parts += [of_kind.filter(pl.col("layer") == layer) for layer in summary.layers]
        placed = [
            shown.select("sample_id").join(part, on="sample_id", how="left", maintain_order="left")
            for part in parts
        ]
        gates[kind] = {
            of: [[shown_number(value) for value in part[of].to_list()] for part in placed] for of in names
        }
    return gates


def _metrics(shown: pl.DataFrame, per_query: pl.DataFrame | None) -> list[dict[str, Any]]:
    if per_query is None:
        return []
    names = [name for name in _METRICS if name in per_query.columns]
    placed = shown.select("qid").join(
        per_query.select("qid", *names), on="qid", how="left", maintain_order="left"
    )
    return [
        {
            "name": _METRICS[name],
            "values": [_value(value) for value in placed[name].cast(pl.Float64).to_list()],
        }
        for name in names
    ]


def _timeline(one: Timeline, row: int, kinds: Sequence[str]) -> dict[str, Any]:
    layers: list[dict[str, Any]] = []
    for layer in sorted(one.gates["layer"].unique().to_list()):
        own = one.gates.filter(pl.col("layer") == layer)
        of_kind = {
            kind: _rows(own.filter(pl.col("gate") == kind).select("start", "end", "value")) for kind in kinds
        }
        layers.append({"layer": layer, "gates": of_kind})
    return {
        "row": row,
        "reasons": list(one.exemplar.reasons),
        "seconds": one.seconds,
        "unit": one.unit,
        "layers": layers,
        "truth": _rows(one.truth.select("start", "end")),
        "predicted": _rows(one.predicted),
        "saliency": _rows(one.saliency),
        "rated": _rows(one.rated),
    }


def _rows(frame: pl.DataFrame) -> list[list[Any]]:
    return [[_value(value) for value in row] for row in frame.iter_rows()]
