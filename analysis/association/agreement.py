"""Whether gates open on the clips that matter: agreement over clips with true windows and with saliency."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...runtime.runs.reader import Run
from ..evaluation.ground_truth import CLIP_SECONDS, GroundTruth
from ..gate_table import gate_series
from ..statistics.bootstrap import VideoBootstrap
from ..statistics.rows import Rows

#: What is compared with the true windows and the saliency: the gate's value, and its size |g|.
MEASURES = ("auc", "window_correlation", "saliency_correlation")

Floats = NDArray[np.float64]


def has_clips(run: Run) -> bool:
    """Whether the gates have a value a clip, as :func:`gate_agreement` needs."""
    return any(gate.axes[2] != "1" for gate in run.manifest.gates)


def gate_agreement(run: Run, truth: GroundTruth) -> pl.DataFrame:
    """Agreement of gates with annotations over the clips of each query, averaged over videos.

    One row a ``layer``, ``gate``, ``statistic`` (``value`` or ``size``, |g|) and ``measure``: ``auc``, the
    chance that a clip inside a true window has the larger gate than one outside (0.5: no agreement);
    ``window_correlation``, the point-biserial correlation with being inside; ``saliency_correlation``,
    Pearson's with the mean annotated saliency. With ``estimate, low, high, videos, queries``; queries of a
    video are averaged first. A query all or none of whose clips are inside, or whose gate or saliency is
    constant, has no agreement. An elementwise gate is represented by its mean over channels.
    """
    per_query = _per_query(run, truth)
    place = {qid: number for number, qid in enumerate(truth.qids)}
    vids = [query.vid for query in truth.queries]
    found = Rows(
        {
            "layer": pl.UInt8,
            **dict.fromkeys(("gate", "statistic", "measure"), pl.String),
            **dict.fromkeys(("estimate", "low", "high"), pl.Float64),
            **dict.fromkeys(("videos", "queries"), pl.Int64),
        }
    )
    by_video = (
        per_query.with_columns(
            vid=pl.col("qid").replace_strict({qid: vids[number] for qid, number in place.items()}),
            **{measure: pl.col(measure).fill_nan(None) for measure in MEASURES},
        )
        .group_by("layer", "gate", "statistic", "vid", maintain_order=True)
        .agg(pl.col(*MEASURES).mean(), *(pl.col(one).count().alias(f"{one}_queries") for one in MEASURES))
    )
    for (layer, gate, statistic), part in by_video.group_by(
        "layer", "gate", "statistic", maintain_order=True
    ):
        bootstrap = VideoBootstrap(part["vid"].to_list())
        for measure in MEASURES:
            mean = bootstrap.mean(part[measure].fill_null(np.nan).to_numpy())
            numbers = (mean.estimate, mean.low, mean.high, mean.videos, int(part[f"{measure}_queries"].sum()))
            found.append((layer, gate, statistic, measure, *numbers))
    return found.frame()


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
    labels: list[tuple[str, Floats, Floats]] = []
    labelled = ("", -1)
    for series in gate_series(run, channels=False):
        if labelled != (series.sample_id, len(series.clips)):  # the series of a sample follow one another
            labelled = series.sample_id, len(series.clips)
            times = (series.clips.astype(np.float64) + 0.5) * seconds
            labels = [
                (qid, _inside(truth, query, times), _saliency(truth, query, times))
                for qid, query in queries_of.get(series.sample_id, ())
            ]
        values = series.values[:, 0].astype(np.float64)
        finite = np.isfinite(values)
        if finite.sum() < 2 or not labels:
            continue
        values = values[finite]
        for statistic, shown in (("value", values), ("size", np.abs(values))):
            ranks = _ranks(shown)
            for qid, inside, salient in labels:
                area = _area(ranks, inside[finite])
                correlated = _correlation(shown, inside[finite]), _correlation(shown, salient[finite])
                rows.append((qid, series.layer, series.kind, statistic, area, *correlated))
    return rows.frame()


def _inside(truth: GroundTruth, query: int, times: Floats) -> Floats:
    """1 where a clip's middle lies in a true window, else 0."""
    windows = truth.windows[query, : truth.counts[query]]
    reached: NDArray[np.bool_] = (times[:, None] >= windows[:, 0]) & (times[:, None] < windows[:, 1])
    inside: Floats = np.zeros(times.shape)
    inside[reached.any(axis=1)] = 1.0
    return inside


def _saliency(truth: GroundTruth, query: int, times: Floats) -> Floats:
    """The mean saliency over annotators where a clip's middle lies; constant where it is not annotated."""
    if truth.saliency is None:
        return np.zeros(times.shape)
    clips = (times / CLIP_SECONDS).astype(np.intp)
    known = clips < truth.saliency.clips[query]
    scores: Floats = truth.saliency.scores[query, np.where(known, clips, 0)]
    return np.where(known, scores.mean(axis=1), 0.0)


def _ranks(values: Floats) -> Floats:
    """Ranks from 1, of equal values their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle: Floats = np.cumsum(counts) - (counts - 1) / 2
    return middle[place]


def _area(ranks: Floats, inside: Floats) -> float:
    """The area under the ROC curve (Mann and Whitney, 1947)."""
    within = inside.sum()
    without = inside.size - within
    if within == 0 or without == 0:
        return math.nan
    return float((ranks @ inside - within * (within + 1) / 2) / (within * without))


def _correlation(values: Floats, others: Floats) -> float:
    x, y = values - values.mean(), others - others.mean()
    spread = math.sqrt(float(x @ x) * float(y @ y))
    # A constant gate leaves rounding alone: its spread is no spread.
    if spread <= 1e-12 * values.size or np.ptp(values) == 0:
        return math.nan
    return float(x @ y) / spread
