"""How far a model's outputs are from the predictions that training left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...runtime.array_types import Float32s
from ...runtime.brief import counted
from ...runtime.data.annotations import Annotation
from ...runtime.gates.preprocessing import Preprocessing
from ...runtime.runs.predictions import Prediction, format_prediction

# Training ran on a GPU, in another order of summation, and rounded: scores to four decimals, saliency to
# float16, windows to whole clips. These are what two right models may differ by beyond the rounding.
SCORE_TOLERANCE = 1e-3
SALIENCY_TOLERANCE = 5e-3
WINDOW_TOLERANCE = 0.1  # seconds
# Windows that are not rounded to clips are still written with four decimals.
_DECIMALS = 1e-4
# Below this distance in score the order of two windows is not decided.
TIE = 2 * SCORE_TOLERANCE
# Share of samples that must agree: one odd sample in a hundred is not another model.
ENOUGH_EQUAL = 0.99


@dataclass(frozen=True)
class Difference:
    """Largest differences of one sample, or of several: scores, saliency, windows in seconds.

    Differences that rounding explains are 0. ``inf`` where the two cannot be compared at all.
    """

    score: float
    saliency: float
    window: float

    @property
    def agrees(self) -> bool:
        """Whether all three are within tolerance."""
        return (
            self.score <= SCORE_TOLERANCE
            and self.saliency <= SALIENCY_TOLERANCE
            and self.window <= WINDOW_TOLERANCE
        )

    @property
    def size(self) -> float:
        """The largest of the three, each in units of its tolerance."""
        return max(
            self.score / SCORE_TOLERANCE, self.saliency / SALIENCY_TOLERANCE, self.window / WINDOW_TOLERANCE
        )


@dataclass(frozen=True)
class Agreement:
    """The differences of several samples: the largest of each, the typical saliency, the share that agree.

    ``samples``: how many were compared.
    """

    largest: Difference
    typical: float
    share: float
    samples: int

    @property
    def enough(self) -> bool:
        """Whether this is the model that made the predictions."""
        return self.share >= ENOUGH_EQUAL

    def __str__(self) -> str:
        return (
            f"score {self.largest.score:.2g}, saliency {self.largest.saliency:.2g}, "
            f"window {self.largest.window:.2g} s; {round(self.share * self.samples)} of "
            f"{counted(self.samples, 'sample')} agree"
        )


def predicted(
    outputs: Mapping[str, Float32s], annotation: Annotation, clips: int, recipe: Preprocessing
) -> Prediction:
    """One sample's line of predictions.

    ``outputs``: ``pred_logits`` and ``pred_spans`` (Q, 2), ``saliency_scores`` (at least ``clips``);
    ``recipe`` says how training rounded and clamped its windows.
    """
    return format_prediction(
        qid=annotation.json_qid,
        query=annotation.query,
        vid=annotation.vid,
        duration=annotation.duration,
        logits=outputs["pred_logits"],
        spans=outputs["pred_spans"],
        saliency=outputs["saliency_scores"],
        clips=clips,
        round_to=recipe.round_to,
        clamp_seconds=recipe.clamp_seconds,
    )


def compare_sample(
    outputs: Mapping[str, Float32s],
    annotation: Annotation,
    clips: int,
    recipe: Preprocessing,
    wanted: Prediction,
) -> Difference:
    """One sample, with ``outputs`` as for :func:`predicted`, against training's line for it."""
    ours = predicted(outputs, annotation, clips, recipe)
    theirs = np.asarray(wanted["pred_relevant_windows"], np.float64)
    mine = np.asarray(ours["pred_relevant_windows"], np.float64)
    if theirs.shape != mine.shape:
        return Difference(np.inf, np.inf, np.inf)
    scores = np.sort(theirs[:, 2])[::-1]
    return Difference(
        score=float(np.abs(scores - mine[:, 2]).max(initial=0.0)),
        saliency=_saliency(ours["pred_saliency_scores"], wanted["pred_saliency_scores"]),
        window=_windows(outputs, annotation.duration, theirs, recipe),
    )


def agreement_of(differences: Sequence[Difference]) -> Agreement:
    """The agreement of all samples."""
    return Agreement(
        Difference(
            max(d.score for d in differences),
            max(d.saliency for d in differences),
            max(d.window for d in differences),
        ),
        float(np.median([d.saliency for d in differences])),
        sum(d.agrees for d in differences) / len(differences),
        len(differences),
    )


def _saliency(ours: list[float], theirs: list[float]) -> float:
    """Largest difference beyond one float16 step, relative to the size of the score where that exceeds 1."""
    if len(ours) != len(theirs):
        return float("inf")
    mine, wanted = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    size = np.maximum(np.abs(mine), np.abs(wanted))
    step = np.spacing(size.astype(np.float16)).astype(np.float64)
    beyond = np.maximum(np.abs(mine - wanted) - step, 0.0)
    return float((beyond / np.maximum(size, 1.0)).max(initial=0.0))


def _windows(
    outputs: Mapping[str, Float32s], duration: float, theirs: NDArray[np.float64], recipe: Preprocessing
) -> float:
    """Largest distance in seconds of our window before rounding from training's after, beyond half a step.

    Only windows whose rank is certain are compared: those whose score differs from both neighbours'.
    """
    logits = outputs["pred_logits"].astype(np.float64)
    order = np.argsort(-(logits[:, 0] - logits[:, 1]), kind="stable")
    centre, width = outputs["pred_spans"].astype(np.float64)[order].T
    mine = np.stack((centre - width / 2, centre + width / 2), 1) * duration
    if recipe.clamp_seconds is not None:
        mine = mine.clip(0.0, recipe.clamp_seconds)
    theirs = theirs[np.argsort(-theirs[:, 2], kind="stable")]
    gaps = np.abs(np.diff(theirs[:, 2], prepend=np.inf, append=-np.inf))
    certain = (gaps[:-1] > TIE) & (gaps[1:] > TIE)
    if not certain.any():
        return 0.0
    distance = np.abs(mine[certain] - theirs[certain, :2]) - (recipe.round_to or _DECIMALS) / 2
    return float(np.maximum(distance, 0.0).max())
