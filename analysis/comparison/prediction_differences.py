"""How far the predictions of two runs lie apart, allowing for the rounding they were written with.

Predictions are stored rounded (scores to 4 decimals, windows to whole clips where the recipe says so, else to
4 decimals, saliency through float16), so that an immeasurable change of a model's output may show as a whole
step. A step is therefore no difference in itself, but windows that move by one clip more often than the
tolerance explains are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...runtime.array_types import Float64s
from ...runtime.runs.reader import Run

SCORE_STEP = 1e-4
# Edges that moved beyond what is expected, in standard deviations: chance alone is no difference.
_DEVIATIONS = 3.0


@dataclass(frozen=True)
class Worst:
    """The largest difference of a quantity, the query it is in, and how many values differ too much."""

    largest: float = 0.0
    qid: str = ""
    beyond: int = 0

    def joined(self, gaps: Float64s, allowed: Float64s, qid: str) -> Worst:
        """With another query's differences; NaN counts as infinite."""
        known = np.where(np.isnan(gaps), np.inf, gaps)
        largest = float(known.max(initial=0.0))
        beyond = self.beyond + int((known > allowed).sum())
        if largest > self.largest:
            return Worst(largest, qid, beyond)
        return Worst(self.largest, self.qid, beyond)


@dataclass(frozen=True)
class PredictionDifferences:
    """What was found over the queries that both runs predict.

    - ``scores``; ``windows``, in seconds; ``saliency``: see :class:`Worst`.
    - ``edges``: how many starts and ends were compared. ``moved``: how many of them moved by one clip or
      less; ``expected``: how many may at this tolerance. ``reordered``: queries whose windows changed places.
    - ``misshapen``: queries with another number of windows or clips.
    """

    queries: int = 0
    only_one: tuple[str, ...] = ()
    only_other: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    scores: Worst = field(default_factory=Worst)
    windows: Worst = field(default_factory=Worst)
    saliency: Worst = field(default_factory=Worst)
    edges: int = 0
    moved: int = 0
    expected: float = 0.0
    reordered: int = 0

    @property
    def most_moved(self) -> float:
        """How many edges may have moved by a clip: those expected, and what chance adds."""
        return self.expected + _DEVIATIONS * math.sqrt(self.expected)


def prediction_differences(one: Run, other: Run, tolerance: float) -> PredictionDifferences:
    """Compare the predictions of two runs; predictions whose pair has not come yet are kept in memory.

    ``tolerance`` is of the model's own outputs: scores, saliency, and spans as fractions of the duration.
    """
    round_to = one.manifest.preprocessing.round_to
    durations = dict(one.samples.select("qid", "duration").collect().iter_rows())
    steps = _Steps(tolerance, round_to)
    scores, window_gaps, saliency = Worst(), Worst(), Worst()
    queries = edges = moved = reordered = 0
    expected = 0.0
    misshapen: list[str] = []
    pairs = _Pairs(one.predictions(), other.predictions())
    for qid, left, right in pairs:
        queries += 1
        (windows, curve), (others, other_curve) = _arrays(left), _arrays(right)
        if windows.shape != others.shape or curve.shape != other_curve.shape:
            misshapen.append(qid)
            continue
        duration = durations.get(qid, 0.0)
        step = steps.window(duration)
        gaps, swapped = _window_gaps(windows, others, steps, step)
        reordered += swapped
        edges += gaps.size
        if tolerance and round_to:
            moved += int(((gaps > 0) & (gaps <= step)).sum())
            expected += gaps.size * min(steps.edge(duration) / step, 1.0)
        window_gaps = window_gaps.joined(gaps, np.full(gaps.shape, step), qid)
        score_gaps = np.abs(windows[:, 2] - others[:, 2])
        scores = scores.joined(score_gaps, np.full(score_gaps.shape, steps.score), qid)
        saliency = saliency.joined(np.abs(curve - other_curve), steps.saliency(curve, other_curve), qid)
    return PredictionDifferences(
        queries=queries,
        only_one=tuple(pairs.left),
        only_other=tuple(pairs.right),
        misshapen=tuple(misshapen),
        scores=scores,
        windows=window_gaps,
        saliency=saliency,
        edges=edges,
        moved=moved,
        expected=expected,
        reordered=reordered,
    )


@dataclass(frozen=True)
class _Steps:
    """What may lie between two stored values at a tolerance; with tolerance 0 nothing may."""

    tolerance: float
    round_to: float | None

    def edge(self, duration: float) -> float:
        """How far an edge may move before rounding: it is centre ± width / 2 of the duration."""
        return 1.5 * self.tolerance * duration

    def window(self, duration: float) -> float:
        """How far two stored edges may lie apart, in seconds."""
        if not self.tolerance:
            return 0.0
        return self.round_to or self.edge(duration) + 1.001 * SCORE_STEP

    @property
    def score(self) -> float:
        # Half a step each way, and what floats add to it.
        return self.tolerance + 1.001 * SCORE_STEP if self.tolerance else 0.0

    def saliency(self, one: Float64s, other: Float64s) -> Float64s:
        if not self.tolerance:
            return np.zeros(one.shape)
        larger = np.maximum(np.abs(one), np.abs(other)).astype(np.float16)
        return self.tolerance + np.spacing(larger).astype(np.float64)


class _Pairs:
    """Two streams of predictions by qid; ``left`` and ``right`` hold what has no pair yet."""

    def __init__(self, one: Iterator[dict[str, Any]], other: Iterator[dict[str, Any]]) -> None:
        self._one, self._other = one, other
        self.left: dict[str, Mapping[str, Any]] = {}
        self.right: dict[str, Mapping[str, Any]] = {}

    def __iter__(self) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
        ended = object()
        while True:
            left, right = next(self._one, ended), next(self._other, ended)
            if left is ended and right is ended:
                return
            for row, own, others in ((left, self.left, self.right), (right, self.right, self.left)):
                if not isinstance(row, dict):
                    continue
                qid = str(row["qid"])
                if qid in others:
                    partner = others.pop(qid)
                    yield (qid, row, partner) if own is self.left else (qid, partner, row)
                else:
                    own[qid] = row


def _arrays(row: Mapping[str, Any]) -> tuple[Float64s, Float64s]:
    windows = np.asarray(row["pred_relevant_windows"], np.float64).reshape(-1, 3)
    return windows, np.asarray(row["pred_saliency_scores"], np.float64)


def _window_gaps(one: Float64s, other: Float64s, steps: _Steps, step: float) -> tuple[Float64s, bool]:
    """Differences of starts and ends (windows, 2) in seconds, and whether windows changed places.

    Windows stand in the order of their scores, and those of nearly equal scores may change places: where that
    explains more, they are compared in the order of time.
    """
    by_rank = np.abs(one[:, :2] - other[:, :2])
    if not (by_rank > step).any():
        return by_rank, False
    first, second = (rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))] for rows in (one, other))
    in_time = np.abs(first[:, :2] - second[:, :2])
    same_scores = not (np.abs(first[:, 2] - second[:, 2]) > steps.score).any()
    if steps.tolerance and same_scores and in_time.max() < by_rank.max():
        return in_time, True
    return by_rank, False
