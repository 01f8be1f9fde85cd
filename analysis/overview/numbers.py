"""The gates in numbers: the table that every other statement of the report rests on."""

from __future__ import annotations

from typing import Any

import polars as pl

from ..figures.overall import overall_figure
from ..figures.style import png
from ..report.chapter import chapter
from ..report.context import Context
from ..report.markdown import counted, number, percent, plain, table
from ..report.section import Section
from ..statistics.summary import GateSummary

OVERALL_FIGURE = "overall_statistics.png"
_HEADS = (
    "gate",
    "layer",
    "mean",
    "mean \\|g\\|",
    "std",
    "between videos",
    "within",
    "min",
    "25%",
    "median",
    "75%",
    "95%",
    "max",
    "positive",
    "saturated",
    "near 0",
)


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
    return f"{table(_HEADS, rows)}\n\n{note}"


def _row(kind: str, layer: str, row: dict[str, Any], spread: dict[str, Any] | None) -> list[str]:
    measured = [
        row["mean"],
        row["mean_abs"],
        row["std"],
        spread["between"] if spread else None,
        spread["within"] if spread else None,
        *(row[name] for name in ("min", "p25", "median", "p75", "p95", "max")),
    ]
    shares = [row["share_positive"], row["share_saturated"], row["share_near_zero"]]
    return [plain(kind), layer, *(number(value) for value in measured), *(percent(share) for share in shares)]
