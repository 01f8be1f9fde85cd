"""The numbers of every run of a campaign: its gates from the run, its metrics from the ground truth.

TVSum has metrics of its own, which `evaluate` does not compute: there the number that training left for the
checkpoint stands, the mean average precision of the five best clips (``mAP`` in ``best_metric.jsonl``). The
same holds where no ground truth is at hand: then training's own metrics stand, known of the run as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ....runtime.errors import GatescopeError, NoGroundTruthError
from ...evaluation.evaluate import Evaluation, evaluate_run
from ...evaluation.ground_truth import GroundTruth, read_ground_truth
from ...evaluation.metrics import METRICS
from ...statistics.summary import summarise
from ...statistics.videos import videos_of
from .members import CampaignRun
from .values import TOP5, RunValues, gate_values, metric_values, whole_values

MetricSource = Literal["evaluated", "training", "none"]


@dataclass(frozen=True)
class RunNumbers:
    """Numbers of one run. ``source``: where its metrics are from. ``notes``: what to know, in plain text.

    ``trained``: training's own metrics under the benchmark's names, in percent.
    """

    values: RunValues
    source: MetricSource
    trained: Mapping[str, float]
    evaluation: Evaluation | None = None
    notes: tuple[str, ...] = ()


def numbers_of(
    runs: Sequence[CampaignRun], annotations: Path | None, *, each: Callable[[], object] = lambda: None
) -> tuple[dict[str, RunNumbers], dict[str, str]]:
    """The numbers by run, and by run why it has none: gates that cannot be read fail that run alone.

    ``annotations``: in place of those that were run. ``each`` is called after every run.
    """
    truths: dict[Path, GroundTruth | str] = {}
    found: dict[str, RunNumbers] = {}
    failed: dict[str, str] = {}
    for one in runs:
        path = annotations or one.annotations
        if path not in truths:
            truths[path] = _truth(path)
        try:
            found[one.name] = _numbers(one, truths[path])
        except GatescopeError as error:
            failed[one.name] = str(error)
        each()
    return found, failed


def _numbers(one: CampaignRun, truth: GroundTruth | str) -> RunNumbers:
    gates = gate_values(summarise(one.run), videos_of(one.run.samples.collect()))
    trained = benchmark_names(one.trained_metrics)
    if isinstance(truth, GroundTruth) and one.run.record.predictions:
        try:
            evaluation = evaluate_run(one.run, truth, allow_missing=True)
        except GatescopeError as error:
            notes = (f"{one.name} has no metrics: {error.problem}.",)
            return RunNumbers(gates, "none", trained, notes=notes)
        notes = tuple(f"{one.name}: {note}" for note in evaluation.notes)
        return RunNumbers({**metric_values(evaluation), **gates}, "evaluated", trained, evaluation, notes)
    if trained:
        return RunNumbers({**whole_values(trained), **gates}, "training", trained)
    why = truth if isinstance(truth, str) else "its model makes no predictions"
    return RunNumbers(gates, "none", trained, notes=(f"{one.name} has no metrics: {why}.",))


def benchmark_names(trained: Mapping[str, float]) -> dict[str, float]:
    """Training's ``brief`` in percent: TVSum's lone ``mAP`` is a fraction, the benchmark's are percent."""
    found = {name: float(value) for name, value in trained.items() if name in METRICS}
    if not found and "mAP" in trained:
        found[TOP5] = 100 * float(trained["mAP"])
    return found


def _truth(path: Path) -> GroundTruth | str:
    """The ground truth, or why there is none."""
    try:
        return read_ground_truth(path)
    except NoGroundTruthError:
        return f"{path.name} has no ground truth that `evaluate` compares with"
    except GatescopeError as error:
        return error.problem
