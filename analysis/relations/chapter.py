"""The chapters on what stands beside the means: intervals, spread, entropy, contribution, correlations."""

from __future__ import annotations

from typing import Any

import polars as pl

from ...runtime.brief import counted
from ..figures.evolution import evolution_figure
from ..figures.style import png
from ..report.chapter import chapter
from ..report.context import Context
from ..report.markdown import estimate_of, number, percent, plain, table
from ..report.section import Section
from ..statistics.bootstrap import BOOTSTRAP_SEED, RESAMPLES
from .relations import relations_of
from .strength import strength_of

EVOLUTION_FIGURE = "gate_evolution.png"
# More rows than this nobody reads; the JSON has all.
_MOST_PAIRS = 24
_ALL = "all"

RelationRow = dict[str, Any]


@chapter("Beyond the means")
def beyond_means_chapter(context: Context) -> Section:
    """Intervals of the means, entropy, the variance between videos, and the effective contribution."""
    summary, relations = context.summary, context.once(relations_of)
    entropy = {
        (row["layer"], row["gate"]): row["entropy"]
        for frame in (summary.by_layer, summary.overall.with_columns(layer=None))
        for row in frame.iter_rows(named=True)
    }
    shares = {
        (row["layer"], row["gate"]): _share_between(row)
        for frame in (context.spread, _over_layers(context.spread))
        for row in frame.iter_rows(named=True)
    }
    measured = relations.levels["contribution"].is_not_nan().any()
    rows = [
        [
            plain(row["gate"]),
            _layer(row["layer"]),
            estimate_of(row, "mean"),
            estimate_of(row, "mean_abs"),
            percent(shares.get((row["layer"], row["gate"]))),
            number(entropy.get((row["layer"], row["gate"])), 2),
            *([estimate_of(row, "contribution")] if measured else []),
        ]
        for row in relations.levels.iter_rows(named=True)
    ]
    heads = ["gate", "layer", "mean", "mean \\|g\\|", "variance between videos", "entropy (bits)"]
    note = (
        "Means are of the samples' means, each sample weighing the same, in brackets their "
        f"{_level(context)}% interval. *Variance between videos*: the share of a gate's variance that lies "
        "between videos; the rest lies within them. *Entropy*: of 64 equal bins over the gate's range, from "
        "0 (always the same) to 6 bits (anything equally often)."
    )
    if measured:
        heads.append("contribution")
        note += (
            " *Contribution*: how far the gated branch moves the stream it is added to, "
            f"{_contribution(context)}: unlike the gate itself it can be compared between layers and models."
        )
    else:
        note += (
            " The effective contribution of the gated branches is not known: the model was exported without "
            "`--contribution`."
        )
    document = {
        "intervals": {
            "unit": "video",
            "videos": context.video_count,
            "level": context.bootstrap.level,
            "resamples": RESAMPLES,
            "seed": BOOTSTRAP_SEED,
        },
        "gate_levels": relations.levels.to_dicts(),
    }
    return Section(
        beyond_means_chapter.heading, f"{table(heads, rows)}\n\n{note}{_resampled(context)}", {}, document
    )


def _contribution(context: Context) -> str:
    """The formula of every kind, as this run's model computed it."""
    manifest, signs = context.run.manifest, {"attention": ("u", "v"), "ffn": ("f", "z")}
    formulas: list[str] = []
    for kind in manifest.contributions:
        branch, stream = signs.get(kind, ("u", "v"))
        factor = "(1 + g)" if manifest.acts_as(kind) == "1+g" else "g"
        formulas.append(f"‖{factor}·{branch}‖ / ‖{stream}‖ for the {plain(kind)} gate")
    if not formulas:  # a tracker's, or a table's: whoever computed it knows
        return "‖m·u‖ / ‖v‖ (m: what the gate multiplies by)"
    return " and ".join(formulas)


@chapter("How the gates move together")
def relations_chapter(context: Context) -> Section:
    """Which gates move together, and whether they follow the strength of the audio."""
    relations, strength = context.once(relations_of), context.once(strength_of)
    figure = evolution_figure(
        relations.levels,
        relations.course,
        relations.by_strength,
        strength.lacking,
        f"{counted(context.videos['vid'].n_unique(), 'video')}.",
    )
    text = "\n\n".join(["### Gates with each other", _pairs(relations.pairs), *_strength(context)])
    document = {
        "correlations": relations.pairs.to_dicts(),
        "audio_strength": {"lacking": strength.lacking or None, "gates": relations.strength.to_dicts()},
        "gate_course": relations.course.to_dicts(),
        "gate_by_strength": relations.by_strength.to_dicts(),
    }
    return Section(relations_chapter.heading, text, {EVOLUTION_FIGURE: png(figure)}, document)


def _pairs(pairs: pl.DataFrame) -> str:
    known = pairs.filter(pl.col("over_samples").is_not_nan() | pl.col("over_clips").is_not_nan())
    if known.is_empty():
        return (
            "There is nothing to correlate: fewer than two samples and two clips, or gates that do not vary."
        )
    strongest = known.sort(
        pl.col("layer").is_null(),
        pl.max_horizontal(pl.col("over_samples", "over_clips").fill_nan(0).abs()),
        descending=True,
        maintain_order=True,
    ).head(_MOST_PAIRS)
    rows = [
        [_named(row["gate"], row["layer"]), _named(row["other_gate"], row["other_layer"])]
        + [estimate_of(row, name, 2) for name in ("over_samples", "over_clips")]
        for row in strongest.iter_rows(named=True)
    ]
    left_out = known.height - strongest.height
    note = (
        "Pearson's correlation. *Between samples*: of the samples' means. *Over clips*: within a sample, the "
        "mean over samples; whether two gates open and close at the same moments."
    )
    if left_out:
        note += f" The {len(rows)} strongest; {left_out} more are in `overall_statistics.json`."
    return f"{table(['gate', 'with', 'between samples', 'over clips'], rows, text_columns=2)}\n\n{note}"


def _strength(context: Context) -> list[str]:
    """The part on the strength of the audio."""
    blocks, strength = ["### Gates and the strength of the audio"], context.once(strength_of)
    if strength.lacking:
        blocks.append(plain(strength.lacking, 600))
    known = context.once(relations_of).strength.filter(
        pl.col("over_samples").is_not_nan() | pl.col("over_clips").is_not_nan()
    )
    if not strength.clips:
        return blocks
    if known.is_empty():
        return [
            *blocks,
            "There is nothing to correlate: too few samples and clips, or values that do not vary.",
        ]
    rows = [
        [
            plain(row["gate"]),
            _layer(row["layer"]),
            estimate_of(row, "over_clips", 2),
            estimate_of(row, "over_samples", 2),
        ]
        for row in known.iter_rows(named=True)
    ]
    note = (
        f"Strength is the L2 norm of a clip's audio features{_unseen(context)}. *Over clips*: the "
        "correlation within a sample, the mean over samples. *Between samples*: of the samples' mean "
        "gate and mean strength."
    )
    return [*blocks, table(["gate", "layer", "over clips", "between samples"], rows), note]


def _unseen(context: Context) -> str:
    normalised = context.run.manifest.preprocessing.normalize_video
    return " before they are normalised, which the model does not see" if normalised else ""


def _over_layers(spread: pl.DataFrame) -> pl.DataFrame:
    """The spread of all layers of a gate together: variances add up, their roots do not."""
    return spread.group_by("gate", maintain_order=True).agg(
        layer=pl.lit(None),
        videos=pl.col("videos").max(),
        between=(pl.col("between") ** 2).mean().sqrt(),
        within=(pl.col("within") ** 2).mean().sqrt(),
    )


def _share_between(row: RelationRow) -> float | None:
    between, within = row["between"] ** 2, row["within"] ** 2
    return between / (between + within) if row["videos"] > 1 and between + within > 0 else None


def _named(gate: str, layer: int | None) -> str:
    return f"{plain(gate)}, all layers" if layer is None else f"{plain(gate)} {layer}"


def _layer(layer: int | None) -> str:
    return _ALL if layer is None else str(layer)


def _level(context: Context) -> str:
    return f"{100 * context.bootstrap.level:g}"


def _resampled(context: Context) -> str:
    videos = context.video_count
    if videos < 2:
        return " With one video there are no intervals."
    return (
        f" Intervals are bootstrapped over the {videos:,} videos ({context.bootstrap.resamples:,} resamples, "
        "fixed seed): clips and queries of one video are not independent."
    )
