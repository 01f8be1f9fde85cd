"""Whether gates open on the clips that matter: agreement over clips with true windows and with saliency."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...runtime.array_types import Float64s
from ...runtime.runs.gates import GateSeries
from ...runtime.runs.reader import Run
from ...runtime.runs.series import gate_series
from ..evaluation.ground_truth import CLIP_SECONDS, GroundTruth
from ..statistics.bootstrap import VideoBootstrap
from ..statistics.rows import Rows
from ..statistics.subsets import columns_of

#: What is compared with the true windows and the saliency: the gate's value, and its size |g|.
MEASURES = ("auc", "window_correlation", "saliency_correlation")

_SCHEMA: dict[str, Any] = {
    "layer": pl.UInt8,
    **dict.fromkeys(("gate", "statistic", "measure"), pl.String),
    **dict.fromkeys(("estimate", "low", "high"), pl.Float64),
    **dict.fromkeys(("videos", "queries"), pl.Int64),
}


def has_clips(run: Run) -> bool:
    """Whether gates have a value a clip, and when a clip is is known, as :func:`gate_agreement` needs."""
    return run.manifest.preprocessing.clip_length > 0 and any(gate.per_clip for gate in run.manifest.gates)


def gate_agreement(run: Run, truth: GroundTruth) -> pl.DataFrame:
    """Agreement of gates with annotations over the clips of each query, averaged over videos.

    One row a ``layer``, ``gate``, ``statistic`` (``value`` or ``size``, |g|) and ``measure``: ``auc``, the
    chance that a clip inside a true window has the larger gate than one outside (0.5: no agreement);
    ``window_correlation``, the point-biserial correlation with being inside; ``saliency_correlation``,
    Pearson's with the mean annotated saliency. With ``estimate, low, high, videos, queries``; queries of a
    video are averaged first. A query all or none of whose clips are inside, or whose gate or saliency is
    constant, has no agreement. An elementwise gate is represented by its mean over channels.
    """
    video_of = {query.qid: query.vid for query in truth.queries}
    known = {measure: pl.col(measure).fill_nan(None) for measure in MEASURES}
    gate = ("layer", "gate", "statistic")
    by_video = (
        _per_query(run, truth)
        .with_columns(vid=pl.col("qid").replace_strict(video_of), **known)
        .group_by(*gate, "vid", maintain_order=True)
        .agg(pl.col(*MEASURES).mean(), *(pl.col(one).count().alias(f"{one}_queries") for one in MEASURES))
    )
    if by_video.is_empty():
        return pl.DataFrame(schema=_SCHEMA)
    parts = by_video.partition_by(*gate, maintain_order=True)
    videos = by_video.select("vid").unique(maintain_order=True)
    # One column a gate and measure, one row a video: all intervals from the same draws.
    columns = [
        columns_of(videos.join(part, on="vid", how="left", maintain_order="left"), MEASURES) for part in parts
    ]
    means = iter(VideoBootstrap(videos["vid"].to_list()).means(np.concatenate(columns, axis=1)))
    rows: list[tuple[object, ...]] = []
    for part in parts:
        for measure in MEASURES:
            mean, queries = next(means), int(part[f"{measure}_queries"].sum())
            numbers = (mean.estimate, mean.low, mean.high, mean.videos, queries)
            rows.append((*part.select(gate).row(0), measure, *numbers))
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _per_query(run: Run, truth: GroundTruth) -> pl.DataFrame:
    """``qid, layer, gate, statistic`` and the three measures, NaN where a query has none."""
    place = {qid: number for number, qid in enumerate(truth.qids)}
    queries_of: dict[str, list[tuple[str, int]]] = {}
    for sample_id, qid in run.samples.select("sample_id", "qid").collect().iter_rows():
        if qid in place:
            queries_of.setdefault(sample_id, []).append((qid, place[qid]))
    seconds = run.manifest.preprocessing.clip_length
    rows = Rows(
        {
            "qid": pl.String,
            "layer": pl.UInt8,
            **dict.fromkeys(("gate", "statistic"), pl.String),
            **dict.fromkeys(MEASURES, pl.Float64),
        }
    )
    for sample_id, group in groupby(gate_series(run, channels=False), key=lambda series: series.sample_id):
        if sample_id not in queries_of:
            continue
        # Gates over the same clips together, for numpy is slow one by one; those with holes, alone.
        together: dict[bytes, list[tuple[GateSeries, Float64s]]] = {}
        for series in group:
            values = series.values[:, 0].astype(np.float64)
            finite = np.isfinite(values)
            if finite.sum() > 1:
                clips = series.clips[finite]
                together.setdefault(clips.tobytes(), []).append((series, values[finite]))
        for clips, gates in together.items():
            times = (np.frombuffer(clips, np.uint16).astype(np.float64) + 0.5) * seconds
            values = np.stack([own for _, own in gates])
            for statistic, shown in (("value", values), ("size", np.abs(values))):
                ranks = _ranks(shown)
                for qid, query in queries_of[sample_id]:
                    inside = _inside(truth, query, times)
                    measured = (
                        _areas(ranks, inside),
                        _correlations(shown, inside),
                        _correlations(shown, _saliency(truth, query, times)),
                    )
                    for (series, _), *own in zip(gates, *(part.tolist() for part in measured), strict=True):
                        rows.append((qid, series.layer, series.kind, statistic, *own))
    return rows.frame()


def _inside(truth: GroundTruth, query: int, times: Float64s) -> Float64s:
    """1 where a clip's middle lies in a true window, else 0."""
    windows = truth.windows[query, : truth.counts[query]]
    reached: NDArray[np.bool_] = (times[:, None] >= windows[:, 0]) & (times[:, None] < windows[:, 1])
    inside: Float64s = np.zeros(times.shape)
    inside[reached.any(axis=1)] = 1.0
    return inside


def _saliency(truth: GroundTruth, query: int, times: Float64s) -> Float64s:
    """The mean saliency over annotators where a clip's middle lies; constant where it is not annotated."""
    if truth.saliency is None:
        return np.zeros(times.shape)
    clips = (times / CLIP_SECONDS).astype(np.intp)
    known = clips < truth.saliency.clips[query]
    scores: Float64s = truth.saliency.scores[query, np.where(known, clips, 0)]
    return np.where(known, scores.mean(axis=1), 0.0)


def _ranks(values: Float64s) -> Float64s:
    """Ranks from 1 within each row of ``values`` (gates, clips), of equal values their mean."""
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    places = np.arange(values.shape[1])
    new = np.ones(values.shape, np.bool_)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(new, places, 0), axis=1)
    ends = np.roll(new, -1, axis=1)  # the last place is an end, for the first is new
    last = np.minimum.accumulate(np.where(ends, places, places[-1])[:, ::-1], axis=1)[:, ::-1]
    ranks: Float64s = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=1)
    return ranks


def _areas(ranks: Float64s, inside: Float64s) -> Float64s:
    """The area under the ROC curve (Mann and Whitney, 1947) of each row of ``ranks`` (gates, clips)."""
    within = float(inside.sum())
    without = inside.size - within
    if within == 0 or without == 0:
        return np.full(len(ranks), np.nan)
    return (ranks @ inside - within * (within + 1) / 2) / (within * without)


def _correlations(values: Float64s, others: Float64s) -> Float64s:
    """Pearson's correlation of each row of ``values`` (gates, clips) with ``others`` (clips,)."""
    x, y = values - values.mean(axis=1, keepdims=True), others - others.mean()
    spread = np.sqrt((x * x).sum(axis=1) * (y @ y))
    # The mean of equal values is not always that value: rounding alone is no spread.
    varies = (np.ptp(values, axis=1) > 0) & (np.ptp(others) > 0)
    return np.divide(x @ y, spread, out=np.full(len(values), np.nan), where=varies & (spread > 0))
