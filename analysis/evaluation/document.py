"""What ``gatescope evaluate`` says: the benchmark's JSON with our additions, and a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from ...runtime.brief import counted
from ..report.again import short_path
from ..report.markdown import interval
from ..statistics.bootstrap import BOOTSTRAP_SEED, FEW_VIDEOS, LEVEL, RESAMPLES
from .evaluate import Evaluation
from .intervals import metric_intervals, subset_metrics
from .metrics import benchmark_metrics


def evaluation_document(evaluation: Evaluation, subsets: Mapping[str, frozenset[str]]) -> dict[str, Any]:
    """The benchmark's JSON, and under keys of their own what the benchmark does not have.

    These are ``queries``, ``videos``, ``notes``, ``intervals`` and, where there are some, ``subsets``.
    """
    per_query = evaluation.per_query
    intervals = metric_intervals(per_query)
    document: dict[str, Any] = {
        **evaluation.metrics,
        "queries": per_query.height,
        "videos": per_query["vid"].n_unique(),
        "notes": [*evaluation.notes, *_notes(per_query, subsets)],
        "intervals": {
            "level": LEVEL,
            "resampled": "videos",
            "resamples": RESAMPLES,
            "seed": BOOTSTRAP_SEED,
            "brief": {row["metric"]: [row["low"], row["high"]] for row in intervals.iter_rows(named=True)},
        },
    }
    if subsets:
        document["subsets"] = {name: _subset(per_query, qids) for name, qids in subsets.items()}
    return document


def _subset(per_query: pl.DataFrame, qids: frozenset[str]) -> dict[str, Any]:
    inside = per_query["qid"].is_in(list(qids))
    compared = subset_metrics(per_query, qids)
    parts: dict[str, Any] = {}
    for name, part in (("subset", per_query.filter(inside)), ("rest", per_query.filter(~inside))):
        parts[name] = {
            "queries": part.height,
            "videos": part["vid"].n_unique(),
            **benchmark_metrics(part),
            "intervals": {
                row["name"]: [row[f"{name}_low"], row[f"{name}_high"]]
                for row in compared.iter_rows(named=True)
            },
        }
    parts["difference"] = {
        row["name"]: {
            "estimate": row["difference"],
            "low": row["difference_low"],
            "high": row["difference_high"],
            "videos": row["videos"],
            "told_apart": row["told_apart"],
        }
        for row in compared.iter_rows(named=True)
    }
    return parts


def evaluation_text(evaluation: Evaluation, subsets: Mapping[str, frozenset[str]]) -> str:
    """The metrics of ``brief`` with their intervals, then each subset against the rest."""
    per_query = evaluation.per_query
    blocks = [
        f"{_of(per_query)}; percent, with {LEVEL:.0%} bootstrap intervals ({RESAMPLES:,} resamples)",
        _aligned(
            [
                (row["metric"], _value(row["value"]), _interval(row["low"], row["high"]))
                for row in metric_intervals(per_query).iter_rows(named=True)
            ]
        ),
    ]
    blocks += _notes(per_query, subsets)
    for name, qids in subsets.items():
        inside = per_query["qid"].is_in(list(qids))
        rows = [("", "subset", "rest", "difference", "")]
        for row in subset_metrics(per_query, qids).iter_rows(named=True):
            low, high = row["difference_low"], row["difference_high"]
            told = "" if row["told_apart"] else "  not told apart from 0"
            difference = "-" if row["difference"] != row["difference"] else f"{row['difference']:+.2f}"
            values = _value(row["subset"]), _value(row["rest"])
            rows.append((row["name"], *values, difference, f"{_interval(low, high, signed=True)}{told}"))
        title = f"subset {name!r}: {_of(per_query.filter(inside))}; rest: {_of(per_query.filter(~inside))}"
        told = f"  intervals of the {len(rows) - 1} differences hold at once"
        blocks += [title, f"{_aligned(rows)}\n{told}"]
    return "\n\n".join(blocks) + "\n"


def evaluation_words(
    predictions: Path,
    annotations: Path,
    *,
    subsets: Sequence[str] = (),
    allow_missing: bool = False,
    output: Path | None = None,
) -> list[str]:
    """``gatescope evaluate`` with what was chosen; ``subsets`` as ``NAME=FILE``."""
    words = ["gatescope", "evaluate", short_path(predictions), "--annotations", short_path(annotations)]
    for spec in subsets:
        name, _, file = spec.partition("=")
        words += ["--subset", f"{name}={short_path(file)}"]
    words += ["--allow-missing"] if allow_missing else []
    return words + ([] if output is None else ["--output", short_path(output)])


def _notes(per_query: pl.DataFrame, subsets: Mapping[str, frozenset[str]]) -> list[str]:
    """Where intervals rest on too few videos to be believed: of the whole, or of a subset or its rest."""
    if per_query["vid"].n_unique() < FEW_VIDEOS:
        return [f"intervals of fewer than {FEW_VIDEOS} videos are too narrow: take none for an effect"]
    notes: list[str] = []
    for name, qids in subsets.items():
        inside = per_query["qid"].is_in(list(qids))
        for what, part in ((f"subset {name!r}", inside), (f"the rest of subset {name!r}", ~inside)):
            videos = per_query.filter(part)["vid"].n_unique()
            if videos < FEW_VIDEOS:
                notes.append(
                    f"{what} is of {counted(videos, 'video')}: intervals of fewer than {FEW_VIDEOS} are too "
                    "narrow, no difference is called an effect"
                )
    return notes


def _of(part: pl.DataFrame) -> str:
    queries = "1 query" if part.height == 1 else f"{part.height:,} queries"
    return f"{queries} of {counted(part['vid'].n_unique(), 'video')}"


def _value(value: float) -> str:
    return "-" if value != value else f"{value:.2f}"


def _interval(low: float, high: float, *, signed: bool = False) -> str:
    return interval(low, high, 2, sign=signed) or "[no interval]"


def _aligned(rows: list[tuple[str, ...]]) -> str:
    """Columns of text: the first and the last flush left, those between flush right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines: list[str] = []
    for first, *middle, last in rows:
        cells = [cell.rjust(width) for cell, width in zip(middle, widths[1:-1], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells, last]).rstrip())
    return "\n".join(f"  {line}".rstrip() for line in lines)
