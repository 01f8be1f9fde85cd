"""How well gates tell the clips of a planted audio event from all others: the area under the ROC curve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...runtime.errors import DatasetError
from ...runtime.runs.reader import Run
from ...runtime.runs.series import gate_series
from .planted import KEY

#: Points of a drawn curve; a line 4 inches long shows no more.
_CURVE_POINTS = 400


@dataclass(frozen=True)
class EventRecovery:
    """What the gates know of the events.

    - ``gates``: one row a ``layer`` and ``gate``: ``auc`` of the gate's value, ``auc_abs`` of its size |g|.
      0.5 is chance; below it the gate closes on the event. NaN where all clips, or none, have the event.
    - ``curves``: ``layer, gate, false_positive, true_positive`` of the gate's value, thinned for drawing.
    - ``example``: ``layer, gate, clip, value, event`` of the sample ``example_id``.
    - ``videos``, ``clips``, ``event_clips``: how many were compared. A video whose queries share its gates
      counts once.
    """

    gates: pl.DataFrame
    curves: pl.DataFrame
    example: pl.DataFrame
    example_id: str
    videos: int
    clips: int
    event_clips: int


def why_no_recovery(run: Run, events: Mapping[str, frozenset[int]]) -> str | None:
    """Why events that were named cannot be compared, in a sentence; None where they can."""
    if not any(gate.per_clip for gate in run.manifest.gates):
        return f"A {run.manifest.gating} gate has one value per video, no clips to compare with event clips."
    if not _compared(run, events):
        return "None of the run's queries has event clips in the annotations."
    return None


def recover_events(run: Run, events: Mapping[str, frozenset[int]]) -> EventRecovery:
    """Compare every clip's gate with whether the clip has the event. Check :func:`why_no_recovery` first.

    ``events`` are the event's clips by qid. An elementwise gate is represented by its mean over channels.
    Raises :class:`~gatescope.runtime.errors.DatasetError` where queries of one video name different clips.
    """
    compared = _compared(run, events)
    values: dict[tuple[int, str], list[NDArray[np.float32]]] = {}
    labels: dict[tuple[int, str], list[NDArray[np.bool_]]] = {}
    clip_count, event_count = 0, 0
    example: list[pl.DataFrame] = []
    example_id, contrast = "", -1
    for series in gate_series(run, channels=False):
        clips = compared.get(series.sample_id)
        if clips is None:
            continue
        key = series.layer, series.kind
        event = np.isin(series.clips, list(clips))
        values.setdefault(key, []).append(series.values[:, 0].copy())
        labels.setdefault(key, []).append(event)
        if key == next(iter(values)):
            clip_count += event.size
            event_count += int(event.sum())
        # The first sample that has most of both, event and rest, shows best what happens.
        both = min(int(event.sum()), int((~event).sum()))
        if both > contrast:
            example_id, contrast, example = series.sample_id, both, []
        if series.sample_id == example_id:
            example.append(
                pl.DataFrame(
                    {
                        "layer": np.full(event.size, series.layer, np.uint8),
                        "gate": [series.kind] * event.size,
                        "clip": series.clips,
                        "value": series.values[:, 0],
                        "event": event,
                    }
                )
            )
    keys = sorted(values, key=lambda key: (key[0], run.manifest.gate_kinds.index(key[1])))
    rows = [(*key, *_areas(np.concatenate(values[key]), np.concatenate(labels[key]))) for key in keys]
    curves = [_curve(*key, np.concatenate(values[key]), np.concatenate(labels[key])) for key in keys]
    return EventRecovery(
        gates=pl.DataFrame(rows, schema=["layer", "gate", "auc", "auc_abs"], orient="row"),
        curves=pl.concat(curves),
        example=pl.concat(example),
        example_id=example_id,
        videos=len(compared),
        clips=clip_count,
        event_clips=event_count,
    )


def _compared(run: Run, events: Mapping[str, frozenset[int]]) -> dict[str, frozenset[int]]:
    """The event's clips by sample: one sample a video, unless gates depend on the query."""
    samples = run.samples.select("sample_id", "qid", "vid").collect()
    chosen: dict[str, frozenset[int]] = {}
    sample_of: dict[str, str] = {}
    for sample_id, qid, vid in samples.iter_rows():
        if qid not in events:
            continue
        unit = sample_id if run.manifest.depends_on_text else vid
        first = sample_of.setdefault(unit, sample_id)
        if chosen.setdefault(first, events[qid]) != events[qid]:
            raise DatasetError(
                f"the queries of the video '{vid}' name different event clips",
                expected=f"the same `{KEY}` on every line of a video, for its gates are shared",
                fix="fix the annotations",
            )
    return chosen


def _areas(values: NDArray[np.float32], labels: NDArray[np.bool_]) -> tuple[float, float]:
    from sklearn.metrics import roc_auc_score

    values, labels = _finite(values, labels)
    if labels.all() or not labels.any():
        return math.nan, math.nan
    return float(roc_auc_score(labels, values)), float(roc_auc_score(labels, np.abs(values)))


def _curve(layer: int, kind: str, values: NDArray[np.float32], labels: NDArray[np.bool_]) -> pl.DataFrame:
    from sklearn.metrics import roc_curve

    values, labels = _finite(values, labels)
    false_positive = true_positive = np.empty(0)
    if labels.any() and not labels.all():
        false_positive, true_positive, _ = roc_curve(labels, values)
        kept = np.unique(np.linspace(0, len(false_positive) - 1, _CURVE_POINTS).round().astype(int))
        false_positive, true_positive = false_positive[kept], true_positive[kept]
    return pl.DataFrame(
        {
            "layer": np.full(len(false_positive), layer, np.uint8),
            "gate": pl.Series([kind] * len(false_positive), dtype=pl.String),
            "false_positive": false_positive,
            "true_positive": true_positive,
        }
    )


def _finite(
    values: NDArray[np.float32], labels: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    kept = np.isfinite(values)
    return values[kept], labels[kept]
