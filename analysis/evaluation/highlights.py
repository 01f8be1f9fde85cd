"""Highlight detection: how well predicted saliency finds the clips that annotators called salient.

As the QVHighlights benchmark computes it (Lei, Berg and Bansal, 2021): for each annotator and three levels
of saliency, the mean of the interpolated precision over the steps of recall, and whether the best clip is
one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...runtime.array_types import Float64s
from .ground_truth import Saliency
from .predictions import Predictions

#: The saliency from which a clip counts, by the benchmark's names.
LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}
_QUERIES_AT_ONCE = 2048


def highlight_columns(predictions: Predictions, saliency: Saliency) -> dict[str, Float64s]:
    """Per-query values (queries,), fractions 0 to 1: ``hl_ap_fair``, ``hit1_fair``, ``…good``, ``…verygood``.

    Average precision is the mean over annotators, 0 where an annotator calls no clip salient. Hit1 is 1 where
    any annotator calls the clip of the highest prediction salient; of equal ones the first clip counts.
    """
    assert predictions.saliency is not None
    best = np.argmax(_padded(predictions.saliency, predictions.clips, -np.inf), axis=1)
    last = saliency.scores.shape[1] - 1
    at_best = saliency.scores[np.arange(len(best)), np.minimum(best, last)].max(axis=1)
    inside = best < saliency.clips
    columns: dict[str, Float64s] = {}
    for name, level in LEVELS.items():
        columns[f"hl_ap_{name.lower()}"] = _average_precision(predictions, saliency, level)
        columns[f"hit1_{name.lower()}"] = (inside & (at_best >= level)).astype(np.float64)
    return columns


def _average_precision(predictions: Predictions, saliency: Saliency, level: float) -> Float64s:
    assert predictions.saliency is not None
    clips = saliency.scores.shape[1]
    predicted = _fitted(_padded(predictions.saliency, predictions.clips, 0.0), clips)
    predicted = _padded(predicted, saliency.clips, -np.inf)
    values: list[Float64s] = []
    for start in range(0, len(predicted), _QUERIES_AT_ONCE):
        cut = slice(start, start + _QUERIES_AT_ONCE)
        values.append(precision_over_recall(predicted[cut], saliency.scores[cut] >= level).mean(axis=1))
    return np.concatenate(values)


def precision_over_recall(scores: Float64s, positive: NDArray[np.bool_]) -> Float64s:
    """Mean of the interpolated precision over the steps of recall, (queries, annotators).

    ``scores`` (queries, clips), −Inf for clips that are not there, which must not be ``positive`` (queries,
    clips, annotators). Clips of equal score are one step; without a positive clip the value is 0.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=1)
    found = np.cumsum(np.take_along_axis(positive, order[:, :, None], axis=1), axis=1)
    ends = np.ones(ordered.shape, np.bool_)  # the last clip of each run of equal scores
    ends[:, :-1] = ordered[:, :-1] != ordered[:, 1:]
    precision = np.where(ends[:, :, None], found / np.arange(1, scores.shape[1] + 1)[:, None], 0.0)
    interpolated = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = np.maximum.accumulate(np.where(ends[:, :, None], found, 0), axis=1)
    before = np.concatenate([np.zeros_like(reached[:, :1]), reached[:, :-1]], axis=1)
    steps = ends[:, :, None] & (found > before)
    count = steps.sum(axis=1)
    total = np.where(steps, interpolated, 0.0).sum(axis=1)
    return np.divide(total, count, out=np.zeros(total.shape), where=count > 0)


def _padded(values: Float64s, lengths: NDArray[np.intp], filling: float) -> Float64s:
    return np.where(np.arange(values.shape[1]) < lengths[:, None], values, filling)


def _fitted(values: Float64s, width: int) -> Float64s:
    """Cut to ``width`` columns, or widened with 0: the benchmark counts a clip without a prediction as 0."""
    cut = values[:, :width]
    return np.pad(cut, ((0, 0), (0, width - cut.shape[1])))
