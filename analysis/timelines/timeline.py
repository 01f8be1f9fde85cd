"""Everything that happens in one query over time: gates, windows, saliency."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ...runtime.runs.reader import Run
from ..evaluation.ground_truth import CLIP_SECONDS, GroundTruth
from ..evaluation.known import truth_of
from ..report.context import Context
from .exemplars import Exemplar, exemplars_of

_WINDOWS = {"start": pl.Float64, "end": pl.Float64, "score": pl.Float64}
_SALIENCY = {"start": pl.Float64, "end": pl.Float64, "value": pl.Float64}


@dataclass(frozen=True)
class Timeline:
    """One query over time, everything from the video's beginning in ``unit``.

    ``unit`` is ``seconds``, or ``clips`` where nobody knows how long a clip lasts (imported gates, a model
    its user ran); then there are no true windows, which are in seconds.

    - ``gates``: ``layer, gate, start, end, value``, one row a clip; a global gate's only row spans the video.
      An elementwise gate is represented by its mean over channels.
    - ``truth``, ``predicted``: ``start, end, score``, predictions best first, the truth's scores null.
    - ``saliency``: ``start, end, value``, the model's score of every clip. ``rated``: the same of the
      annotators' mean rating (0–4), where they called the clip relevant.
    """

    exemplar: Exemplar
    vid: str
    query: str
    seconds: float
    gates: pl.DataFrame
    truth: pl.DataFrame
    predicted: pl.DataFrame
    saliency: pl.DataFrame
    rated: pl.DataFrame
    unit: str = "seconds"


def timelines_of(context: Context) -> tuple[Timeline, ...]:
    """The queries of a run that are worth a look, over time."""
    exemplars, truth = context.once(exemplars_of), context.once(truth_of)
    return tuple(timelines(context.run, context.queries, exemplars, context.texts, truth))


def timelines(
    run: Run,
    queries: pl.DataFrame,
    exemplars: Sequence[Exemplar],
    texts: dict[str, str],
    truth: GroundTruth | None = None,
) -> Iterator[Timeline]:
    """The timeline of each exemplar, in their order; all are read in one pass over gates and predictions.

    ``texts``: the queries' words by qid. ``truth``: what the annotations know to be right.
    """
    qids = {one.qid for one in exemplars}
    place_of = {} if truth is None else {qid: place for place, qid in enumerate(truth.qids) if qid in qids}
    predictions = {qid: row for row in run.predictions() if (qid := str(row.get("qid"))) in qids}
    gates = (
        run.gates.filter(pl.col("sample_id").is_in([one.sample_id for one in exemplars]))
        .select("sample_id", "layer", "gate", "clip", "value")
        .sort("sample_id", "layer", "gate", "clip")
        .collect()
        .partition_by("sample_id", as_dict=True)
    )
    rows = {row["qid"]: row for row in queries.iter_rows(named=True)}
    known = run.manifest.preprocessing.clip_length > 0
    clip_length = run.manifest.preprocessing.clip_length if known else 1.0
    for one in exemplars:
        row, found = rows[one.qid], predictions.get(one.qid, {})
        # The last clip may reach beyond the video's end, and features may stop before it.
        seconds = row["clips"] * clip_length
        windows, ratings = ([], []) if truth is None or not known else _truth(truth, place_of.get(one.qid))
        yield Timeline(
            exemplar=one,
            vid=row["vid"],
            query=texts.get(one.qid, ""),
            seconds=seconds,
            gates=_over_time(gates[one.sample_id,], clip_length, seconds),
            truth=_frame(windows, _WINDOWS),
            predicted=_frame(
                [tuple(window) for window in found.get("pred_relevant_windows") or ()], _WINDOWS
            ),
            saliency=_frame(
                [
                    (clip * clip_length, (clip + 1) * clip_length, score)
                    for clip, score in enumerate(found.get("pred_saliency_scores") or ())
                ],
                _SALIENCY,
            ),
            rated=_frame(ratings, _SALIENCY),
            unit="seconds" if known else "clips",
        )


def _truth(truth: GroundTruth, place: int | None) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Rows of the true windows and of the ratings of one query; none for a query that is not annotated."""
    if place is None:
        return [], []
    windows = [(start, end, None) for start, end in truth.windows[place, : truth.counts[place]].tolist()]
    if truth.saliency is None:
        return windows, []
    means = truth.saliency.scores[place].mean(axis=1).tolist()
    rated = [(clip, mean) for clip, mean in enumerate(means) if mean > 0]
    return windows, [(clip * CLIP_SECONDS, (clip + 1) * CLIP_SECONDS, mean) for clip, mean in rated]


def _over_time(gates: pl.DataFrame, clip_length: float, seconds: float) -> pl.DataFrame:
    whole = pl.len().over("layer", "gate") == 1  # global, or a video of one clip
    start = pl.col("clip").cast(pl.Float64) * clip_length
    return gates.select(
        "layer",
        "gate",
        start=start,
        end=pl.when(whole).then(pl.lit(seconds)).otherwise(start + clip_length),
        value=pl.col("value").cast(pl.Float64),
    )


def _frame(rows: Sequence[tuple[Any, ...]], schema: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema, orient="row")
