"""Predictions and annotations in, the benchmark's metrics and every query's own values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...runtime.errors import DatasetError, RunFolderError
from ...runtime.runs.reader import Run
from .ground_truth import GroundTruth, Saliency, read_ground_truth
from .highlights import highlight_columns
from .metrics import METRICS, benchmark_metrics
from .moments import moment_columns
from .predictions import PredictionRow, as_arrays, convert_predictions, listed, read_prediction_file

__all__ = ["METRICS", "Evaluation", "evaluate", "evaluate_file", "evaluate_run"]


@dataclass(frozen=True)
class Evaluation:
    """How good predictions are.

    - ``metrics``: the benchmark's JSON, percent with two decimals; None for a metric that no query has.
    - ``per_query``: one row a query in annotation order: ``qid, vid, query, duration`` and the columns of
      :func:`~gatescope.analysis.evaluation.moments.moment_columns` and
      :func:`~gatescope.analysis.evaluation.highlights.highlight_columns`, fractions 0 to 1, null where a
      query has no such windows. Their means are the metrics; :data:`METRICS` names the column of each.
    - ``notes``: what was left out, in plain text.
    """

    metrics: dict[str, Any]
    per_query: pl.DataFrame
    notes: tuple[str, ...] = ()


def evaluate(
    predictions: Iterable[Mapping[str, Any]],
    annotations: Path | GroundTruth,
    *,
    allow_missing: bool = False,
) -> Evaluation:
    """The metrics of ``predictions``, dicts in the benchmark's submission format.

    ``annotations``: the benchmark's JSONL, or what has been read of it.

    Both must be of the same queries, unless ``allow_missing``: then those that both have are evaluated.
    Raises :class:`~gatescope.runtime.errors.DatasetError` for predictions or annotations that are damaged,
    or of different queries (named), and :class:`~gatescope.runtime.errors.NoGroundTruthError` for a test
    split.
    """
    return _evaluate(convert_predictions(predictions), annotations, allow_missing)


def evaluate_file(
    predictions: Path, annotations: Path | GroundTruth, *, allow_missing: bool = False
) -> Evaluation:
    """The metrics of a file of predictions; see :func:`evaluate`."""
    return _evaluate(read_prediction_file(predictions), annotations, allow_missing)


def evaluate_run(run: Run, annotations: Path | GroundTruth, *, allow_missing: bool = False) -> Evaluation:
    """The metrics of a run's predictions; see :func:`evaluate`.

    Raises :class:`~gatescope.runtime.errors.RunFolderError` for a run without predictions.
    """
    if not run.record.predictions and run.manifest.outputs_kind != "gates":
        raise RunFolderError(
            f"the run {run.path} holds no predictions",
            received="gates of a log or of a live model, which keep none",
            fix="give the predictions file that belongs to them",
        )
    if not run.record.predictions:
        raise RunFolderError(
            f"the run {run.path} holds no predictions",
            received=f"a run of a model exported with --outputs {run.manifest.outputs_kind}",
            fix="export with --outputs tracked or plain, and run again",
        )
    if run.parts == 0:
        raise RunFolderError(
            f"{run.path} holds no predictions yet", fix="continue it with `gatescope run … --resume`"
        )
    return evaluate(run.predictions(), annotations, allow_missing=allow_missing)


def _evaluate(
    predicted: dict[str, PredictionRow], annotations: Path | GroundTruth, allow_missing: bool
) -> Evaluation:
    whole = annotations if isinstance(annotations, GroundTruth) else read_ground_truth(annotations)
    truth, notes = _common(whole, predicted, allow_missing)
    others = [query.qid for query in truth.queries if predicted[query.qid].vid not in (None, query.vid)]
    if others:
        notes.append(
            f"{len(others):,} of {len(truth.qids):,} predictions name another video than the annotations of "
            f"their qid: {listed(others)}. Are they of these annotations?"
        )
    arrays = as_arrays([predicted[qid] for qid in truth.qids])
    columns: dict[str, Any] = {}
    if arrays.windows is not None and truth.counts.any():
        columns |= moment_columns(arrays, truth)
        if empty := int((truth.counts == 0).sum()):
            notes.append(f"{empty:,} queries have no true window: they do not count for moment retrieval.")
        if silent := int((arrays.counts == 0).sum()):
            notes.append(f"{silent:,} queries have no predicted window: they score 0.")
    if arrays.saliency is not None and truth.saliency is not None:
        columns |= highlight_columns(arrays, truth.saliency)
    if not columns:
        raise DatasetError(
            "predictions and annotations have nothing to compare",
            received="windows in one, saliency in the other",
            expected="pred_relevant_windows and relevant_windows, or pred_ and saliency_scores",
        )
    first = [name for name in (*METRICS.values(), "iou", "best_iou") if name in columns]
    columns = {name: columns[name] for name in dict.fromkeys([*first, *columns])}
    queries = truth.queries
    per_query = pl.DataFrame(
        {
            "qid": pl.Series(truth.qids, dtype=pl.String),
            "vid": pl.Series([query.vid for query in queries], dtype=pl.String),
            "query": pl.Series([query.query for query in queries], dtype=pl.String),
            "duration": pl.Series([query.duration for query in queries], dtype=pl.Float64),
            **columns,
        }
    ).with_columns(pl.col(list(columns)).fill_nan(None))
    return Evaluation(benchmark_metrics(per_query), per_query, tuple(notes))


def _common(
    truth: GroundTruth, predicted: Mapping[str, PredictionRow], allow_missing: bool
) -> tuple[GroundTruth, list[str]]:
    """The queries that are both annotated and predicted, with notes on the rest."""
    known = set(truth.qids)
    missing = [qid for qid in truth.qids if qid not in predicted]
    unknown = [qid for qid in predicted if qid not in known]
    if not missing and not unknown:
        return truth, []
    if len(missing) == len(known):
        raise DatasetError(
            "predictions and annotations have no query in common",
            received=f"predictions for qid {listed(unknown)}",
            expected=f"qid {listed(truth.qids)}",
            fix="give the annotation file that the predictions are of",
        )
    faults = (
        [f"no prediction for qid {listed(missing)} ({len(missing):,} of {len(known):,})"] if missing else []
    )
    faults += [f"no annotation for qid {listed(unknown)} ({len(unknown):,})"] if unknown else []
    if not allow_missing:
        raise DatasetError(
            "predictions and annotations are not of the same queries",
            received="; ".join(faults),
            expected="one prediction for every annotated query, as the benchmark's own evaluator asks",
            fix="complete the run, or give --allow-missing to evaluate the queries that both have",
        )
    kept = np.array([qid in predicted for qid in truth.qids])
    saliency = truth.saliency and Saliency(truth.saliency.scores[kept], truth.saliency.clips[kept])
    queries = tuple(query for query, keep in zip(truth.queries, kept, strict=True) if keep)
    note = f"Only {len(queries):,} of {len(known):,} annotated queries are evaluated: {'; '.join(faults)}."
    return GroundTruth(truth.path, queries, truth.windows[kept], truth.counts[kept], saliency), [note]
