"""Which queries are worth looking at one by one, and why."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import polars as pl

from ..evaluation.known import evaluation_of
from ..report.context import Context
from ..report.markdown import number

_EACH = 3
#: No more timelines than this are drawn, whatever is asked for.
MOST = 100
#: Beyond this many robust standard deviations a sample is called unusual (Iglewicz and Hoaglin, 1993).
FAR = 3.5
# The median absolute deviation of a normal distribution is 1 / this of its standard deviation.
_NORMAL = 1.4826
# A gate that hardly varies would make any sample unusual; no figure shows a difference below this.
_LEAST_SPREAD = 5e-3


@dataclass(frozen=True)
class Exemplar:
    """One query to show. ``reasons``: why, in plain text, the first one first thought of."""

    qid: str
    sample_id: str
    reasons: tuple[str, ...]


def exemplars_of(context: Context) -> tuple[Exemplar, ...]:
    """The queries of a run that are worth a look, and why each."""
    evaluation = context.once(evaluation_of)
    chosen = choose_exemplars(
        context.queries,
        context.summary.per_sample,
        asked=context.options.samples or (),
        per_query=None if evaluation is None else evaluation.per_query,
        film=context.summary.film,
    )
    return tuple(chosen)


def choose_exemplars(
    queries: pl.DataFrame,
    per_sample: pl.DataFrame,
    *,
    asked: Sequence[str] = (),
    per_query: pl.DataFrame | None = None,
    film: Collection[str] = (),
) -> list[Exemplar]:
    """Those asked for, then by gate the most and the least open, the most unusual, and those that fail.

    - ``queries``: a run's samples. ``per_sample``: of ``GateSummary``. ``asked``: qids or sample_ids; ``all``
      alone means every query. ``per_query``: each query's own metrics, if there is an evaluation. ``film``:
      kinds of gates that multiply by 1 + g, of which none is open or closed.

    Of queries that share their gates the first stands for all, except where it is asked for or fails. At most
    :data:`MOST`; of several reasons for one query all are kept.
    """
    sample_of: dict[str, str] = dict(queries.select("qid", "sample_id").iter_rows())
    first_qid: dict[str, str] = dict(
        queries.unique("sample_id", keep="first", maintain_order=True).select("sample_id", "qid").iter_rows()
    )
    chosen: dict[str, list[str]] = {}
    wanted = list(sample_of) if tuple(asked) == ("all",) else asked
    for name in wanted:
        for qid in [name] if name in sample_of else [q for q, of in sample_of.items() if of == name]:
            chosen.setdefault(qid, []).append("asked for")
    vid_of: dict[str, str] = dict(queries.select("sample_id", "vid").iter_rows())
    for sample_id, reason in [*_extremes(per_sample, vid_of, film), *_unusual(per_sample, vid_of)]:
        if sample_id in first_qid:
            chosen.setdefault(first_qid[sample_id], []).append(reason)
    for qid, reason in _failing(per_query):
        if qid in sample_of:
            chosen.setdefault(qid, []).append(reason)
    return [Exemplar(qid, sample_of[qid], tuple(why)) for qid, why in list(chosen.items())[:MOST]]


def sample_levels(per_sample: pl.DataFrame) -> pl.DataFrame:
    """``sample_id, gate, mean, mean_abs`` of every sample, each the mean over its layers."""
    return (
        per_sample.filter(pl.col("count") > 0)
        .group_by("sample_id", "gate", maintain_order=True)
        .agg(pl.col("mean").mean(), pl.col("mean_abs").mean())
    )


def _extremes(
    per_sample: pl.DataFrame, vid_of: dict[str, str], film: Collection[str]
) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    levels = sample_levels(per_sample)
    for kind in per_sample["gate"].unique(maintain_order=True).to_list():
        own = levels.filter(pl.col("gate") == kind).sort("mean_abs", descending=True, maintain_order=True)
        own = _one_a_video(own, vid_of)
        named = min(_EACH, own.height // 2)
        most, least = ("largest", "smallest") if kind in film else ("most open", "least open")
        for what, rows in ((most, own.head(named)), (least, own.tail(named).reverse())):
            found += [
                (row["sample_id"], f"{kind} gate {what}, mean |g| {number(row['mean_abs'])}")
                for row in rows.iter_rows(named=True)
            ]
    return found


def _unusual(per_sample: pl.DataFrame, vid_of: dict[str, str]) -> list[tuple[str, str]]:
    rows = _one_a_video(unusual_samples(per_sample), vid_of).head(_EACH)
    return [
        (
            row["sample_id"],
            f"unusual: {row['gate']} gate of layer {row['layer']}, mean {number(row['mean'])} where the "
            f"middle is {number(row['middle'])}",
        )
        for row in rows.iter_rows(named=True)
    ]


def _one_a_video(rows: pl.DataFrame, vid_of: dict[str, str]) -> pl.DataFrame:
    vids = [vid_of.get(sample_id, sample_id) for sample_id in rows["sample_id"].to_list()]
    return rows.with_columns(vid=pl.Series(vids, dtype=pl.String)).unique(
        "vid", keep="first", maintain_order=True
    )


def _failing(per_query: pl.DataFrame | None) -> list[tuple[str, str]]:
    """The queries whose windows are found worst, by average precision, then by the top window's IoU."""
    if per_query is None or not {"ap", "iou"} <= set(per_query.columns):
        return []
    worst = per_query.filter(pl.col("ap").is_not_null()).sort("ap", "iou", maintain_order=True).head(_EACH)
    return [
        (row["qid"], f"fails: AP {number(row['ap'])}, IoU of the top window {number(row['iou'])}")
        for row in worst.iter_rows(named=True)
    ]


def unusual_samples(per_sample: pl.DataFrame) -> pl.DataFrame:
    """Samples with a mean gate beyond :data:`FAR`, the most unusual first.

    Takes ``GateSummary.per_sample``. One row a ``sample_id`` with the ``layer`` and ``gate`` in which it is
    most unusual: ``mean`` (its own), ``middle`` (the samples' median) and ``distance`` = |mean − middle| /
    (1.4826 · median |mean − middle|).
    """
    gate = ["layer", "gate"]
    off = (pl.col("mean") - pl.col("middle")).abs()
    spread = pl.max_horizontal(_NORMAL * off.median().over(gate), pl.lit(_LEAST_SPREAD))
    return (
        per_sample.filter(pl.col("count") > 0)
        .with_columns(middle=pl.col("mean").median().over(gate))
        .with_columns(distance=off / spread)
        .filter(pl.col("distance") > FAR)
        .sort("distance", descending=True, maintain_order=True)
        .unique("sample_id", keep="first", maintain_order=True)
        .select("sample_id", *gate, "mean", "middle", "distance")
    )
