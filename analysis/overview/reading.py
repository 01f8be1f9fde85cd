"""What the values say, in words with their numbers, and what they cannot say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from ...runtime.statistics.limits import NEAR_ZERO
from ..report.chapter import chapter
from ..report.context import Context
from ..report.markdown import number, percent, plain, table
from ..report.section import Section
from ..statistics.summary import GateSummary

_NAMED = 3
# A mean this much smaller than the mean |g| is the work of signs that cancel.
_CANCELLED = 0.5


@chapter("What the values say")
def saying_chapter(context: Context) -> Section:
    """Level, layers, variability, samples."""
    summary, spread = context.summary, context.spread
    parts = [meaning(summary)]
    manifest = context.run.manifest
    if manifest.depends_on_text and manifest.inputs:
        parts.append(
            "These gates depend on the query as well as on the video and its audio: each query of a video "
            "has gates of its own."
        )
    for row in summary.overall.iter_rows(named=True):
        kind = row["gate"]
        layers = summary.by_layer.filter(pl.col("gate") == kind, pl.col("count") > 0)
        parts.append(f"### {plain(kind)} gate")
        if row["count"] == 0:
            parts.append("No value is finite: nothing can be said.")
            continue
        points = [
            f"**Level.** {_level(row, signed=_signed(summary, kind), film=kind in summary.film)}",
            f"**Layers.** {_layers(layers)}",
            f"**Variability.** {_variability(row, spread.filter(pl.col('gate') == kind))}",
        ]
        parts.append("\n".join(f"- {point}" for point in points))
    parts.append(_samples(summary))
    return Section(saying_chapter.heading, "\n\n".join(part for part in parts if part))


@chapter("What the values cannot say")
def limits_chapter(context: Context) -> Section:
    """What no number of observed gates shows."""
    summary = context.summary
    signed = any(_signed(summary, kind) for kind in summary.kinds)
    queries = (
        "so are its queries, although their gates may differ"
        if context.run.manifest.depends_on_text
        else "queries of one video share its gates"
    )
    points = [
        "**Causes.** These are observed gates. Whether a gate changes a prediction shows only when it is "
        "set to another value and the benchmark's metrics are measured again.",
        "**Sign and scale.** A gate multiplies a branch that has weights of its own: a negated branch with a "
        "negated gate, or one of half the size with a gate twice as large, is the same model. Compare a gate "
        "with itself (over time, between videos, during training), not layers or models by the size of "
        "their gates.",
        "**Single clips and queries.** The unit is the video. Clips of one video are correlated, and "
        f"{queries}: the number of values is not the size of the sample.",
    ]
    if signed:
        idle = "closed" if not summary.film else "closed, or the branch unchanged"
        points.insert(
            2,
            "**Means.** Positive and negative gates cancel in a mean, so a mean near 0 does not say that "
            f"the gate is {idle}: read the mean of \\|g\\| and the share of positive values next to it.",
        )
    return Section(limits_chapter.heading, "\n".join(f"- {point}" for point in points))


_SCALED = {
    "attention": "the audio before it is added to the video stream",
    "ffn": "what the layer's feed-forward network makes of the fused stream",
}


def meaning(summary: GateSummary) -> str:
    """What a gate's value does to its branch, for the kinds of gates that are there."""
    film = [kind for kind in summary.kinds if kind in summary.film]
    plainly = [kind for kind in summary.kinds if kind not in summary.film]
    parts: list[str] = []
    if plainly:
        which = "A" if not film else f"The {_names(plainly)} gate multiplies its branch by g: a"
        parts.append(
            f"{which} positive gate adds the branch that it scales, a negative one subtracts it, a gate at 0 "
            "leaves it out. Whether a subtracted branch suppresses what it carries is not known: the sign is "
            "not identifiable, since the branch's weights with the other sign and the gate with the other "
            "sign are the same model."
        )
    if film:
        parts.append(
            f"The {_names(film)} gate multiplies its branch by **1 + g** (FiLM): a gate at 0 leaves the "
            "branch at full strength, a positive one strengthens it, a negative one weakens it, −1 leaves it "
            "out and less than −1 subtracts it."
        )
    scaled = [f"the *{kind}* gate scales {what}" for kind, what in _SCALED.items() if kind in summary.kinds]
    if scaled:
        text = "; ".join(scaled)
        parts.append(f"{text[0].upper()}{text[1:]}.")
    return " ".join(parts)


def _names(kinds: Sequence[str]) -> str:
    return " and ".join(f"*{plain(kind)}*" for kind in kinds)


def _signed(summary: GateSummary, kind: str) -> bool:
    low, high = summary.ranges[kind]
    return low < 0 < high


def _level(row: dict[str, Any], *, signed: bool, film: bool) -> str:
    mean, size = row["mean"], row["mean_abs"]
    text = (
        f"mean {number(mean)}, median {number(row['median'])}, mean \\|g\\| {number(size)}; "
        f"{percent(row['share_near_zero'])} of values near 0, {percent(row['share_saturated'])} saturated"
    )
    if not signed:
        return f"{text}. {_level_of_film(mean, size)}" if film else f"{text}."
    text += f", {percent(row['share_positive'])} positive. "
    if film:
        return text + _level_of_film(mean, size)
    if size < NEAR_ZERO:
        return text + "The gate is nearly closed: what it scales hardly enters."
    if abs(mean) < _CANCELLED * size:
        return (
            text + "The mean is small because positive and negative values cancel; the gate itself is open."
        )
    return text + (
        "On the whole the branch is added." if mean > 0 else "On the whole the branch is subtracted."
    )


def _level_of_film(mean: float, size: float) -> str:
    if size < NEAR_ZERO:
        return "The gate is nearly 0: the branch enters as it is, hardly changed by the gate."
    if abs(mean) < _CANCELLED * size:
        return "The mean is small because positive and negative values cancel; the gate itself is at work."
    way = "strengthens" if mean > 0 else "weakens"
    return f"On average it {way} its branch: 1 + g is {number(1 + mean)}."


def _layers(layers: pl.DataFrame) -> str:
    sizes = [(row["layer"], row["mean_abs"]) for row in layers.iter_rows(named=True)]
    listed = ", ".join(f"{number(size)} in layer {layer}" for layer, size in sizes)
    if len(sizes) == 1:
        return f"There is one layer; mean \\|g\\| {number(sizes[0][1])}."
    widest = max(sizes, key=lambda item: item[1])
    least = min(sizes, key=lambda item: item[1])
    values = [size for _, size in sizes]
    if values == sorted(values) and widest[1] > least[1]:
        course = "It grows from layer to layer."
    elif values == sorted(values, reverse=True) and widest[1] > least[1]:
        course = "It falls from layer to layer."
    else:
        course = f"It is largest in layer {widest[0]} and smallest in layer {least[0]}."
    return f"mean \\|g\\| {listed}. {course}"


def _variability(row: dict[str, Any], spread: pl.DataFrame) -> str:
    if row["min"] == row["max"]:
        return f"All {row['count']:,} values are {number(row['min'])}: the gate does not react to its input."
    text = f"std {number(row['std'])}, middle half from {number(row['p25'])} to {number(row['p75'])}"
    videos = max(spread["videos"].to_list(), default=0)
    if videos < 2:
        return f"{text}. There is only one video, so nothing can be said of differences between videos."
    rows = spread.to_dicts()
    between = sum(of["between"] ** 2 for of in rows)
    total = between + sum(of["within"] ** 2 for of in rows)
    share = between / total if total else 0.0
    lowest, highest = min(of["lowest"] for of in rows), max(of["highest"] for of in rows)
    return (
        f"{text}. Within a layer, {percent(share)} of the variance lies between the {videos} videos, the "
        f"rest within them; the videos' mean gates reach from {number(lowest)} to {number(highest)}."
    )


def _samples(summary: GateSummary) -> str:
    if summary.samples < 2:
        return "### Samples\n\nThere is only one sample, so there is nothing to compare it with."
    blocks = ["### Samples"]
    for kind in summary.kinds:
        ranked = (
            summary.per_sample.filter(pl.col("gate") == kind, pl.col("count") > 0)
            .group_by("sample_id", maintain_order=True)
            .agg(pl.col("mean_abs").mean(), pl.col("mean").mean(), pl.col("clips").max())
            .sort("mean_abs", descending=True, maintain_order=True)
        )
        named = min(_NAMED, ranked.height // 2)
        most, least = ("largest", "smallest") if kind in summary.film else ("most open", "least open")
        rows = [
            [
                place,
                plain(row["sample_id"], 60),
                number(row["mean_abs"]),
                number(row["mean"]),
                str(row["clips"]),
            ]
            for place, part in ((most, ranked.head(named)), (least, ranked.tail(named)))
            for row in part.iter_rows(named=True)
        ]
        heads = [f"{plain(kind)} gate", "sample", "mean \\|g\\|", "mean", "clips"]
        blocks.append(table(heads, rows, text_columns=2))
    return "\n\n".join(blocks)
