"""The section on subsets: their metrics and gates against those of the other queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from ..queries.measures import Measure
from ..queries.words import interval_of, place_cells
from ..report.markdown import counted, number, plain, table
from ..report.section import Section
from ..statistics.bootstrap import FEW_VIDEOS, LEVEL

TITLE = "Subsets"


def subset_text(name: str, found: int, listed: int, total: int) -> str:
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


def gates_text(compared: pl.DataFrame, measures: Sequence[Measure]) -> str:
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


def subsets_section(blocks: Sequence[str], figures: dict[str, bytes], document: dict[str, Any]) -> Section:
    """The section of all subsets."""
    meaning = (
        "Each subset against the queries outside it. Intervals of the differences resample videos; queries "
        "of one video stay together. A difference says that the queries differ, not why: "
        "`gatescope ablate --subset` tells what gates and audio do for each."
    )
    return Section(TITLE, "\n\n".join([meaning, *blocks]), figures, {"subsets": document})


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
