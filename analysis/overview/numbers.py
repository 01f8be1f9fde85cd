"""The gates in numbers: the table that every other statement of the report rests on."""

from __future__ import annotations

from typing import Any

import polars as pl

from ...runtime.brief import counted
from ..figures.overall import overall_figure
from ..figures.style import png
from ..report.chapter import chapter
from ..report.context import Context
from ..report.markdown import number, percent, plain, table
from ..report.section import Section
from ..statistics.statistic import GROUPS, STATISTICS, Statistic
from ..statistics.summary import GateSummary

OVERALL_FIGURE = "overall_statistics.png"
# How far a gate's spread lies between and within videos follows the other columns of spread.
_AFTER = "spread"


@chapter("The gates in numbers")
def numbers_chapter(context: Context) -> Section:
    """One row per gate and layer, one per gate over all layers, and their picture."""
    summary = context.summary
    figure = overall_figure(summary.overall, summary.by_layer, summary.distribution, context.subtitle)
    text = _text(summary, context.spread)
    return Section(numbers_chapter.heading, text, {OVERALL_FIGURE: png(figure)})


def _text(summary: GateSummary, spread: pl.DataFrame) -> str:
    spreads = {(row["layer"], row["gate"]): row for row in spread.iter_rows(named=True)}
    rows: list[list[str]] = []
    for kind in summary.kinds:
        for row in summary.by_layer.filter(pl.col("gate") == kind).iter_rows(named=True):
            rows.append(_row(kind, str(row["layer"]), row, spreads.get((row["layer"], kind))))
        for row in summary.overall.filter(pl.col("gate") == kind).iter_rows(named=True):
            rows.append(_row(kind, "all", row, None))
    values = " and ".join(
        f"{row['count']:,} {plain(row['gate'])} values" for row in summary.overall.iter_rows(named=True)
    )
    note = (
        f"Over {values} of {counted(summary.samples, 'sample')}. *std*: of all values; *between videos*: "
        "of the videos' means; *within*: of the values around their video's mean. *Saturated*: at 95% of the "
        "range's end or beyond. *Near 0*: \\|g\\| < 0.05."
    )
    if film := [plain(kind) for kind in summary.kinds if kind in summary.film]:
        note += f" The {' and '.join(film)} gate multiplies by 1 + g: near 0, its branch enters as it is."
    return f"{table(_heads(), rows)}\n\n{note}"


def _in_groups() -> list[list[Statistic]]:
    shown = [one for one in STATISTICS if one.heading]
    return [[one for one in shown if one.group == group] for group in GROUPS]


def _heads() -> list[str]:
    heads = ["gate", "layer"]
    for group, statistics in zip(GROUPS, _in_groups(), strict=True):
        heads += [plain(one.heading) for one in statistics]
        heads += ["between videos", "within"] if group == _AFTER else []
    return heads


def _row(kind: str, layer: str, row: dict[str, Any], spread: dict[str, Any] | None) -> list[str]:
    cells = [plain(kind), layer]
    for group, statistics in zip(GROUPS, _in_groups(), strict=True):
        cells += [(percent if one.group == "share" else number)(row[one.name]) for one in statistics]
        if group == _AFTER:
            cells += [number(spread[name] if spread else None) for name in ("between", "within")]
    return cells
