"""What the effects of an ablation say, in words with numbers."""

from __future__ import annotations

import html
import re

import polars as pl

from ....runtime.brief import counted
from ...evaluation.metrics import short_metric
from ...report.markdown import estimate, plain, signed_number
from ...statistics.bootstrap import FEW_VIDEOS
from .effects import Effects

#: The metric that an absence of effects is stated in.
_MAIN = "MR-full-mAP"
_NAMED = 3
NOT_TOLD_APART = "cannot be told apart from no effect"
_CAN_BE = "can be told apart from no effect"


def row_verdict(rows: pl.DataFrame) -> str:
    """What one intervention does, from its rows of ``Effects.overall``; plain text."""
    if why := _cannot_judge(rows):
        return f"cannot be judged: {why}"
    apart = rows.filter("told_apart")
    if apart.is_empty():
        idle = (rows["low"] == 0).all() and (rows["high"] == 0).all()
        return f"{NOT_TOLD_APART}{': no query scores differently' if idle else ''}"
    better, worse = apart.filter(pl.col("effect") > 0).height, apart.filter(pl.col("effect") < 0).height
    way = "hurts" if not better else "improves" if not worse else "changes"
    if apart.height == rows.height > _NAMED:
        return f"{way} all {rows.height} metrics"
    return f"{way} {', '.join(short_metric(name) for name in apart['metric'])}"


def audio_verdict(effects: Effects) -> str:
    """Whether the audio matters, in Markdown."""
    rows = effects.overall.filter(what="audio")
    if rows.is_empty():
        return "The audio was not changed: the model has no audio input."
    return _verdict(
        rows, "Removing or exchanging the audio changes the metrics of this checkpoint", "The audio", effects
    )


def gate_verdict(effects: Effects) -> str:
    """Whether what the gates do matters, in Markdown: all of them together, then each by itself."""
    rows = effects.overall.filter(what="gates")
    together = rows.filter(pl.col("layer").is_null() & pl.col("kind").is_null())
    single = rows.filter(pl.col("layer").is_not_null())
    told = _verdict(
        rows if together.is_empty() else together,
        "Changing the gates changes the metrics of this checkpoint",
        "The gates' part",
        effects,
    )
    if together.is_empty() or _cannot_judge(rows):
        return told
    acting = single.filter("told_apart")
    gates = single["target"].n_unique()
    if acting.is_empty():
        return f"{told} Of the {gates} gates by themselves, none {_CAN_BE}."
    of_them = f"{acting['target'].n_unique()} of the {gates} gates {_CAN_BE} by themselves"
    return f"{told} {of_them}: {_listed(_strongest(acting))}."


def subset_verdict(rows: pl.DataFrame, name: str) -> str:
    """Whether the audio has another effect on a subset than on the rest, in Markdown.

    ``rows``: those of ``Effects.subsets`` for this subset and the audio.
    """
    called = plain(name)
    if rows.is_empty():
        return f"The audio was not changed, so nothing can be said of {called}."
    if why := _cannot_judge(rows):
        return f"**Nothing can be said of {called}**: on one side of it, {why}."
    apart = rows.filter("told_apart")
    if apart.is_empty():
        return (
            f"**The audio's effect on {called} cannot be told apart from its effect on the rest**: every "
            f"interval of their difference holds 0{_ruled_out(rows)}."
        )
    told = _listed(apart, "the difference in ")
    return f"**The audio has another effect on {called} than on the rest**: {told}."


def unmarked(markdown: str) -> str:
    """A verdict as plain text, without its marks."""
    return html.unescape(re.sub(r"\\(.)", r"\1", markdown.replace("**", "")))


def chance_note(effects: Effects) -> str:
    """How many intervals would exclude 0 by chance alone, and how many do; plain text."""
    rows = effects.overall.filter(pl.col("low").is_not_nan())
    level = effects.bootstrap.level
    return (
        f"Of {rows.height} effects, {effects.alone_excluding_zero} have an own {level:.0%} interval without "
        f"0; if nothing had any effect, about {(1 - level) * rows.height:.0f} would. The words above "
        "therefore rest on the intervals that hold all at once."
    )


def _cannot_judge(rows: pl.DataFrame) -> str:
    """Why no interval of ``rows`` may be believed; empty where one may."""
    videos = int(rows["videos"].max() or 0)  # type: ignore[arg-type]
    if videos >= FEW_VIDEOS:
        return ""
    return f"{counted(videos, 'video')} {'is' if videos == 1 else 'are'} too few, {FEW_VIDEOS} are needed"


def _verdict(rows: pl.DataFrame, yes: str, subject: str, effects: Effects) -> str:
    if why := _cannot_judge(rows):
        return f"**{subject} cannot be judged**: {why}."
    apart = rows.filter("told_apart")
    if apart.is_empty():
        return (
            f"**{subject} {NOT_TOLD_APART}**: with {effects.videos:,} videos every interval holds 0"
            f"{_ruled_out(rows)}."
        )
    return f"**{yes}**: {_listed(apart)}."


def _strongest(apart: pl.DataFrame) -> pl.DataFrame:
    """Of every target the intervention with the largest effect, on the first metric that tells it apart."""
    first = apart.group_by("intervention", maintain_order=True).first()
    ranked = first.sort(pl.col("effect").abs(), descending=True, maintain_order=True)
    return ranked.unique("target", keep="first", maintain_order=True)


def _listed(apart: pl.DataFrame, before: str = "") -> str:
    """Each intervention with the first metric that tells it apart, the largest effects first."""
    first = apart.group_by("intervention", maintain_order=True).first()
    ranked = first.sort(pl.col("effect").abs(), descending=True, maintain_order=True)
    told = [
        f"with {plain(row['title'])}, {before}{short_metric(row['metric'])} "
        f"{'is' if before else 'changes by'} "
        f"{estimate(row['effect'], row['family_low'], row['family_high'], 2, sign=True)} points"
        for row in ranked.head(_NAMED).iter_rows(named=True)
    ]
    more = f"; and {ranked.height - _NAMED} more" if ranked.height > _NAMED else ""
    return "; ".join(told) + more


def _ruled_out(rows: pl.DataFrame) -> str:
    """What the intervals of the main metric exclude."""
    main = rows.filter(pl.col("metric") == _MAIN, pl.col("family_low").is_not_nan())
    if main.is_empty():
        return ""
    low, high = main["family_low"].min(), main["family_high"].max()
    assert isinstance(low, float)
    assert isinstance(high, float)
    return (
        f"; changes of {short_metric(_MAIN)} below {signed_number(low, 2)} or above "
        f"{signed_number(high, 2)} points are ruled out"
    )
