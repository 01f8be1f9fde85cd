"""Queries ranked by their gates: per kind, per layer and combined, by their own ids."""

from __future__ import annotations

from typing import Any

import polars as pl

from .measures import Measure

#: How many queries of each end are listed.
ENDS = 10


def sample_rankings(joined: pl.DataFrame, measures: list[Measure]) -> pl.DataFrame:
    """``joined`` with a column ``…_rank`` after each measure's own: 1 is the largest, equal values share a
    rank.

    Ordered by the first measure, largest first; queries without one come last.
    """
    ranked = [
        column
        for measure in measures
        for column in (
            pl.col(measure.name),
            pl.col(measure.name).rank("min", descending=True).alias(f"{measure.name}_rank"),
        )
    ]
    own = [name for name in joined.columns if name not in {measure.name for measure in measures}]
    return joined.select(*own, *ranked).sort(
        measures[0].name, descending=True, nulls_last=True, maintain_order=True
    )


def ends_of_ranking(
    joined: pl.DataFrame, measure: str, ends: int = ENDS
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The queries with the largest and the smallest ``measure``, each from the extreme inwards.

    Of fewer than ``2 * ends`` queries, each is in one of them only.
    """
    known = joined.filter(pl.col(measure).is_not_null()).sort(measure, descending=True, maintain_order=True)
    top = known.head(min(ends, (known.height + 1) // 2))
    return top, known.tail(min(ends, known.height // 2)).reverse()


def ranking_document(joined: pl.DataFrame, measures: list[Measure]) -> dict[str, Any]:
    """Top and bottom of every ranking: by statistic, gate (or ``combined``) and layer (or ``all``)."""
    found: dict[str, Any] = {}
    kept = [name for name in ("qid", "vid", "query", "ap", "iou") if name in joined.columns]
    for measure in measures:
        top, bottom = ends_of_ranking(joined, measure.name)
        of_gate = found.setdefault(measure.statistic, {}).setdefault(measure.gate or "combined", {})
        of_gate["all" if measure.layer is None else str(measure.layer)] = {
            name: part.select(*kept, pl.col(measure.name).alias("value")).to_dicts()
            for name, part in (("top", top), ("bottom", bottom))
        }
    return found
