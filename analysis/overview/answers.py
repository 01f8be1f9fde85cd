"""The first things a reader asks of a run's gates, answered in words with numbers."""

from __future__ import annotations

import polars as pl

from ...runtime.brief import counted
from ...runtime.statistics.limits import NEAR_ZERO
from ..causes.ablation.embedded import causes_answer
from ..relations.relations import relations_of
from ..report.chapter import chapter
from ..report.context import Context
from ..report.markdown import estimate_of, number, percent, plain
from ..report.section import Section
from ..statistics.bootstrap import FEW_VIDEOS
from ..statistics.summary import GateSummary
from ..timelines.exemplars import FAR, unusual_samples
from ..training.chapter import training_answer

_MOSTLY = 0.5
_NAMED = 3


@chapter("In short", on_page="first screen")
def answers_chapter(context: Context) -> Section:
    """The first questions, answered in words with numbers."""
    summary, spread, levels = context.summary, context.spread, context.once(relations_of).levels
    # The attention gate is the one that scales the audio; a model of other kinds names them itself.
    audio = "attention" if "attention" in summary.kinds else summary.kinds[0]
    own = levels.filter(pl.col("gate") == audio)
    videos = max(spread["videos"].to_list(), default=0)
    points = [
        ("Is it the trained model?", training_answer(context)),
        ("What do audio and gates cause?", causes_answer(context)),
        ("Is audio used?", _used(summary, audio, own)),
        ("By which layers?", _layers(own, film=audio in summary.film)),
        ("How differently between videos?", _videos(summary, spread)),
        ("What is unusual?", _unusual(summary)),
        ("What cannot be concluded?", _limits(videos)),
    ]
    lines = [f"- **{question}** {answer}" for question, answer in points if answer is not None]
    return Section(answers_chapter.heading, "\n".join(lines))


def _used(summary: GateSummary, audio: str, own: pl.DataFrame) -> str:
    row = summary.overall.row(by_predicate=pl.col("gate") == audio, named=True)
    if row["count"] == 0:
        return f"No value of the {plain(audio)} gate is finite: nothing can be said."
    whole = own.row(by_predicate=pl.col("layer").is_null(), named=True)
    if audio in summary.film:
        verdict = "enters whatever the gate is (it multiplies by 1 + g)"
    elif row["mean_abs"] < NEAR_ZERO:
        verdict = "hardly enters"
    elif row["share_near_zero"] > _MOSTLY:
        verdict = "enters rarely"
    else:
        verdict = "enters"
    text = (
        f"As far as gates show it, audio {verdict}: the {plain(audio)} gate has a mean \\|g\\| of "
        f"{estimate_of(whole, 'mean_abs')} and a mean of {estimate_of(whole, 'mean')}; "
        f"{percent(row['share_near_zero'])} of its values are near 0, "
        f"{percent(row['share_saturated'])} saturated"
    )
    low, high = summary.ranges[audio]
    return f"{text}, {percent(row['share_positive'])} positive." if low < 0 < high else f"{text}."


def _layers(own: pl.DataFrame, *, film: bool) -> str:
    layers = own.filter(pl.col("layer").is_not_null(), pl.col("mean_abs").is_not_nan()).sort(
        "mean_abs", descending=True, maintain_order=True
    )
    if layers.is_empty():
        return "Nothing can be said."
    rows = layers.to_dicts()
    if len(rows) == 1:
        return f"There is one layer; its mean \\|g\\| is {estimate_of(rows[0], 'mean_abs')}."
    most, second, least = rows[0], rows[1], rows[-1]
    text = (
        f"Its gate is {'largest' if film else 'widest open'} in layer {most['layer']}, mean \\|g\\| "
        f"{estimate_of(most, 'mean_abs')}, and "
        f"least in layer {least['layer']}, {estimate_of(least, 'mean_abs')}."
    )
    subtracted = [str(row["layer"]) for row in rows if row["mean_high"] < 0]
    if subtracted:
        does = "it weakens its branch" if film else "the branch is subtracted"
        text += f" On average it is negative, so that {does}, in {_listed(sorted(subtracted))}."
    if most["mean_abs_low"] <= second["mean_abs_high"]:
        text += f" The intervals of layers {most['layer']} and {second['layer']} overlap."
    return text


def _listed(layers: list[str]) -> str:
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {', '.join(layers[:-1])} and {layers[-1]}"


def _videos(summary: GateSummary, spread: pl.DataFrame) -> str:
    if max(spread["videos"].to_list(), default=0) < 2:
        return "There is only one video: nothing can be said."
    said: list[str] = []
    for kind in summary.kinds:
        rows = spread.filter(pl.col("gate") == kind).to_dicts()
        between = sum(row["between"] ** 2 for row in rows)
        total = between + sum(row["within"] ** 2 for row in rows)
        widest = max(rows, key=lambda row: row["highest"] - row["lowest"], default=None)
        if widest is None:
            continue
        share = (
            "does not vary" if total == 0 else f"{percent(between / total)} of the variance is between videos"
        )
        said.append(
            f"The {plain(kind)} gate: {share}; most in layer {widest['layer']}, where videos' means reach "
            f"from {number(widest['lowest'])} to {number(widest['highest'])}"
        )
    return f"{'. '.join(said)}." if said else "Nothing can be said."


def _unusual(summary: GateSummary) -> str:
    found: list[str] = []
    for row in summary.by_layer.iter_rows(named=True):
        name = f"the {plain(row['gate'])} gate of layer {row['layer']}"
        if bad := row["nan_count"] + row["inf_count"]:
            found.append(f"{name} has {bad:,} values that are NaN or infinite")
        if row["count"] and row["min"] == row["max"]:
            found.append(f"{name} is always {number(row['min'])}")
        elif row["count"] and row["share_saturated"] > _MOSTLY:
            found.append(f"{name} is saturated in {percent(row['share_saturated'])} of its values")
        elif row["count"] and row["share_near_zero"] > 1 - NEAR_ZERO:
            idle = " (1 + g: its branch enters as it is)" if row["gate"] in summary.film else ""
            found.append(f"{name} is near 0{idle} in {percent(row['share_near_zero'])} of its values")
    far = unusual_samples(summary.per_sample)
    if far.height:
        named = "; ".join(
            f"{plain(row['sample_id'], 60)} ({plain(row['gate'])} gate of layer {row['layer']}: "
            f"{number(row['mean'])}, middle {number(row['middle'])})"
            for row in far.head(_NAMED).iter_rows(named=True)
        )
        found.append(
            f"{counted(far.height, 'sample')} of {summary.samples:,} {'lies' if far.height == 1 else 'lie'} "
            f"beyond {FAR} robust standard deviations in a layer's mean gate, furthest {named}"
        )
    if not found:
        return f"No sample lies beyond {FAR} robust standard deviations, and no gate is stuck."
    text = "; ".join(found)
    return f"{text[0].upper()}{text[1:]}."


def _limits(videos: int) -> str:
    text = (
        "Causes, from these gates: an open gate does not show that a prediction depends on it. Only setting "
        "the gate to another value and measuring again does, which is what `gatescope ablate` is for. Nor "
        "that one layer uses more audio than another: a gate's sign and scale have no meaning apart from the "
        "weights behind it."
    )
    if videos < FEW_VIDEOS:
        text += f" With {counted(videos, 'video')}, intervals are rough" + (
            " or cannot be given." if videos < 2 else ", and rather too narrow."
        )
    return text
