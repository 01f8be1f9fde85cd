"""Moment retrieval: how well predicted windows meet the true ones, for all queries at once.

As the QVHighlights benchmark computes it (Lei, Berg and Bansal, 2021): recall at 1 of the window that is
listed first, and the interpolated average precision of ActivityNet's detection task, query by query, over
at most ten windows.

The benchmark divides an overlap in two ways. They are the same number in exact arithmetic, yet a window that
lies on a threshold can pass one and miss the other where windows have decimals, so both are here: recall
divides by the stretch that the two windows span (:func:`overlaps_of_span`), average precision by the union
of their lengths (:func:`overlaps`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...runtime.array_types import Float64s
from .ground_truth import GroundTruth
from .predictions import Predictions

#: IoU from which a window counts as found.
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
#: Lengths of true windows in seconds, (above, up to]; ``full`` takes all windows, however long.
RANGES: dict[str, tuple[float, float] | None] = {
    "full": None,
    "short": (0.0, 10.0),
    "middle": (10.0, 30.0),
    "long": (30.0, 150.0),
}
_QUERIES_AT_ONCE = 4096

Booleans = NDArray[np.bool_]


def windows_in_range(truth: GroundTruth, range_: tuple[float, float] | None) -> Booleans:
    """Which true windows are real and of a length in ``range_``, (queries, most windows)."""
    real = np.arange(truth.windows.shape[1]) < truth.counts[:, None]
    if range_ is None:
        return real
    length = truth.windows[..., 1] - truth.windows[..., 0]
    return real & (length > range_[0]) & (length <= range_[1])


def overlaps(predicted: Float64s, true: Float64s) -> Float64s:
    """Intersection over union of every predicted with every true window, (queries, predicted, true).

    Takes windows (queries, n, 2) in seconds. Two windows without length have no union: their overlap is 0.
    The union is the sum of both lengths less the intersection, as the benchmark's average precision has it.
    """
    starts, ends, true_starts, true_ends = _edges(predicted, true)
    shared = _intersection(predicted, true)
    return _ratio(shared, (ends - starts) + (true_ends - true_starts) - shared)


def overlaps_of_span(predicted: Float64s, true: Float64s) -> Float64s:
    """As :func:`overlaps`, divided by the later end less the earlier start, as the benchmark's recall has it.

    Windows that meet span their union, and windows that do not meet overlap by 0 either way.
    """
    starts, ends, true_starts, true_ends = _edges(predicted, true)
    span = np.maximum(ends, true_ends) - np.minimum(starts, true_starts)
    return _ratio(_intersection(predicted, true), span)


def _edges(predicted: Float64s, true: Float64s) -> tuple[Float64s, Float64s, Float64s, Float64s]:
    predicted, true = predicted[:, :, None], true[:, None]
    return predicted[..., 0], predicted[..., 1], true[..., 0], true[..., 1]


def _intersection(predicted: Float64s, true: Float64s) -> Float64s:
    starts, ends, true_starts, true_ends = _edges(predicted, true)
    return np.clip(np.minimum(ends, true_ends) - np.maximum(starts, true_starts), 0, None)


def _ratio(shared: Float64s, whole: Float64s) -> Float64s:
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def average_precision(iou: Float64s, scores: Float64s, predicted: Booleans, true: Booleans) -> Float64s:
    """Interpolated average precision at every threshold, (queries, thresholds).

    - ``iou`` (queries, predicted, true); ``scores`` (queries, predicted); ``predicted``, ``true``: which of
      them are real. Queries without a true window get NaN.

    Windows are taken by falling score, equal ones in their order; each takes the free true window that it
    overlaps most, of equal ones the last, if the overlap reaches the threshold.
    """
    parts = range(0, len(iou), _QUERIES_AT_ONCE)
    cuts = [slice(start, start + _QUERIES_AT_ONCE) for start in parts]
    return np.concatenate([_precision(iou[cut], scores[cut], predicted[cut], true[cut]) for cut in cuts])


def _precision(iou: Float64s, scores: Float64s, predicted: Booleans, true: Booleans) -> Float64s:
    order = np.argsort(np.where(predicted, -scores, np.inf), axis=1, kind="stable")
    iou = np.where(predicted[:, :, None] & true[:, None, :], iou, -1.0)
    iou = np.take_along_axis(iou, order[:, :, None], axis=1)
    queries, ranks, windows = iou.shape
    thresholds = np.array(THRESHOLDS)
    free = np.ones((queries, len(thresholds), windows), np.bool_)
    hits = np.zeros((queries, len(thresholds), ranks), np.bool_)
    for rank in range(ranks):
        overlap = iou[:, rank, None, :]
        open_ = np.where(free & (overlap >= thresholds[:, None]), overlap, -1.0)
        best = windows - 1 - np.argmax(open_[..., ::-1], axis=2)
        hits[:, :, rank] = np.take_along_axis(open_, best[..., None], axis=2)[..., 0] >= 0
        taken = hits[:, :, rank, None] & (np.arange(windows) == best[..., None])
        free &= ~taken
    precision = np.cumsum(hits, axis=2) / np.arange(1, ranks + 1)
    interpolated = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
    found = np.where(hits, interpolated, 0.0).sum(axis=2)
    count = true.sum(axis=1)[:, None]
    return np.divide(found, count, out=np.full(found.shape, np.nan), where=count > 0)


def moment_columns(predictions: Predictions, truth: GroundTruth) -> dict[str, Float64s]:
    """Per-query values (queries,), fractions 0 to 1, NaN for a query without windows in that range.

    ``ap_0.5`` … ``ap_0.95``, their mean ``ap``, ``r1_0.5`` … ``r1_0.95``, the same for each range as
    ``ap_short``, ``ap_short_0.5``, ``r1_short_0.5`` …; ``iou`` of the window listed first with the true
    window it meets best, and ``best_iou`` of any predicted window, both as recall divides them: a query
    counts for ``r1_0.5`` just where its ``iou`` is at least 0.5. A query without a predicted window
    scores 0 (the benchmark's own code leaves it out of mAP and cannot compute R1).
    """
    assert predictions.windows is not None
    windows = predictions.windows[..., :2]
    iou, of_span = overlaps(windows, truth.windows), overlaps_of_span(windows, truth.windows)
    predicted = np.arange(iou.shape[1]) < predictions.counts[:, None]
    columns: dict[str, Float64s] = {}
    for name, range_ in RANGES.items():
        suffix = "" if range_ is None else f"_{name}"
        true = windows_in_range(truth, range_)
        known = true.any(axis=1)
        possible = predicted[:, :, None] & true[:, None, :]
        # Which true window the first one meets best is decided by the other division, in the benchmark too.
        met = np.where(possible[:, 0], iou[:, 0], -1.0).argmax(axis=1)[:, None]
        recalled = np.where(possible, of_span, 0.0)
        top = np.where(known, np.take_along_axis(recalled[:, 0], met, axis=1)[:, 0], np.nan)
        precision = average_precision(iou, predictions.windows[..., 2], predicted, true)
        columns[f"ap{suffix}"] = precision.mean(axis=1)
        columns |= {f"ap{suffix}_{at:g}": precision[:, place] for place, at in enumerate(THRESHOLDS)}
        columns |= {f"r1{suffix}_{at:g}": np.where(known, top >= at, np.nan) for at in THRESHOLDS}
        if range_ is None:
            columns["iou"] = top
            columns["best_iou"] = np.where(known, recalled.max(axis=(1, 2)), np.nan)
    return columns
