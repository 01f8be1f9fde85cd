"""What the report of a run knows of right and wrong: the ground truth, and how good the predictions are."""

from __future__ import annotations

from ...runtime.errors import NoGroundTruthError
from ..report.context import Context
from .evaluate import Evaluation, evaluate_run
from .ground_truth import GroundTruth, read_ground_truth


def truth_of(context: Context) -> GroundTruth | None:
    """What the annotations know to be right; None without annotations, or of a test split.

    Raises :class:`~gatescope.runtime.errors.DatasetError` where their ground truth is damaged.
    """
    if context.options.annotations is None:
        return None
    try:
        return read_ground_truth(context.options.annotations)
    except NoGroundTruthError:
        return None


def evaluation_of(context: Context) -> Evaluation | None:
    """How good the run's predictions are, of the queries that are annotated; None without either."""
    truth = context.once(truth_of)
    if truth is None or not context.run.record.predictions:
        return None
    return evaluate_run(context.run, truth, allow_missing=True)
