"""Reads predictions in the benchmark's submission format, as arrays over the annotated queries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ...runtime.array_types import Float64s
from ...runtime.causes import told_causes
from ...runtime.data.mistaken import refuse_annotations
from ...runtime.errors import DatasetError

#: The benchmark looks at this many windows of a query, the first ones.
MOST_WINDOWS = 10
_LISTED = 10

_EXPECTED = (
    "qid, and pred_relevant_windows [[start, end, score], …] or pred_saliency_scores [one per clip] or both"
)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What was predicted for every query, in the order asked for.

    - ``windows`` (queries, 10, 3) start, end, score, of which the first ``counts`` (queries,) are real; None
      where the predictions have no windows.
    - ``saliency`` (queries, most clips), of which the first ``clips`` (queries,) are real; None without.
    """

    windows: Float64s | None
    counts: NDArray[np.intp]
    saliency: Float64s | None
    clips: NDArray[np.intp]


class PredictionRow(msgspec.Struct):
    """One line, as far as metrics need it."""

    qid: int | str
    vid: str | None = None
    pred_relevant_windows: list[tuple[float, float, float]] | None = None
    pred_saliency_scores: list[float] | None = None

    @property
    def id(self) -> str:
        """The query's id as text."""
        return str(self.qid)


def read_prediction_file(path: Path) -> dict[str, PredictionRow]:
    """The predictions of ``path`` by qid; blank lines are skipped.

    Raises :class:`~gatescope.runtime.errors.DatasetError` for a file that cannot be read, is empty, holds
    annotations, or has
    lines that are damaged (listed by number) or predict a query again.
    """
    try:
        if not path.is_file():
            raise DatasetError(f"there is no predictions file {path}", fix="check the path")
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise DatasetError(f"{path} cannot be read", received=error.strerror or str(error)) from error
    if content.lstrip()[:1] == b"[":
        try:
            entries = msgspec.json.decode(content, type=list[msgspec.Raw])
        except msgspec.DecodeError as error:
            raise DatasetError(f"{path} is not JSON", received=str(error)) from error
        listed_rows = ((str(number), bytes(entry)) for number, entry in enumerate(entries, start=1))
        for entry in entries[:1]:
            refuse_annotations(path, bytes(entry), "entry 1")
        return _collect(listed_rows, _decoded, str(path), "entry")
    lines = content.split(b"\n")
    numbered = [(str(number), line) for number, line in enumerate(lines, start=1) if line.strip()]
    for number, line in numbered[:1]:
        refuse_annotations(path, line, f"line {number}")
    return _collect(numbered, _decoded, str(path), "line")


def convert_predictions(predictions: Iterable[Mapping[str, Any]]) -> dict[str, PredictionRow]:
    """Predictions that are in memory as dicts, by qid; raises as :func:`read_prediction_file` does."""
    numbered = ((str(number), row) for number, row in enumerate(predictions, start=1))
    return _collect(numbered, _converted, "the predictions", "prediction")


_decoder = msgspec.json.Decoder(PredictionRow)


def _decoded(line: bytes) -> PredictionRow:
    return _decoder.decode(line)


def _converted(row: Mapping[str, Any]) -> PredictionRow:
    return msgspec.convert(row, PredictionRow)


def _collect(
    numbered: Iterable[tuple[str, Any]], decode: Callable[[Any], PredictionRow], source: str, noun: str
) -> dict[str, PredictionRow]:
    found: dict[str, PredictionRow] = {}
    first: dict[str, str] = {}
    bad: list[tuple[str, str]] = []
    for where, item in numbered:
        try:
            row = decode(item)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            bad.append((where, _explained(item, error)))
            continue
        if row.id in found:
            bad.append((where, f"predicts the query {row.id} of {noun} {first[row.id]} again"))
        elif fault := _fault(row):
            bad.append((f"{where} (qid {row.id})", fault))
        found.setdefault(row.id, row)
        first.setdefault(row.id, where)
    if bad:
        count = "1 prediction" if len(bad) == 1 else f"{len(bad):,} predictions"
        raise DatasetError(
            f"{count} of {source} cannot be used\n    " + "\n    ".join(told_causes(bad, noun)),
            expected=_EXPECTED,
            fix="fix these lines, or predict again",
        )
    if not found:
        raise DatasetError(f"{source} hold no predictions", expected="one JSON object a line: " + _EXPECTED)
    return found


def _explained(item: Any, error: Exception) -> str:
    if isinstance(item, bytes) and (b"NaN" in item or b"Infinity" in item):
        return "a number is NaN or infinite"
    return str(error)


def _fault(row: PredictionRow) -> str | None:
    """Why a line that is well formed cannot be ranked; None where it can."""
    for start, end, score in row.pred_relevant_windows or ():
        if not (math.isfinite(start) and math.isfinite(end) and math.isfinite(score)):
            return "a window or its score is NaN or infinite"
        if end < start:
            return f"the window [{start:g}, {end:g}] ends before it begins"
    if not all(map(math.isfinite, row.pred_saliency_scores or ())):
        return "a saliency score is NaN or infinite"
    return None


def as_arrays(rows: Sequence[PredictionRow]) -> Predictions:
    """Predictions as arrays.

    Raises :class:`~gatescope.runtime.errors.DatasetError` where some have windows, or saliency, and some not.
    """
    has_windows = _have(
        rows, "pred_relevant_windows", [row.pred_relevant_windows is not None for row in rows]
    )
    has_saliency = _have(rows, "pred_saliency_scores", [bool(row.pred_saliency_scores) for row in rows])
    if not has_windows and not has_saliency:
        raise DatasetError("the predictions hold neither windows nor saliency", expected=_EXPECTED)
    counts = np.array([min(len(row.pred_relevant_windows or ()), MOST_WINDOWS) for row in rows], np.intp)
    clips = np.array([len(row.pred_saliency_scores or ()) for row in rows], np.intp)
    windows: Float64s = np.zeros((len(rows), MOST_WINDOWS, 3))
    saliency: Float64s = np.zeros((len(rows), int(clips.max())))
    for place, row in enumerate(rows):
        if row.pred_relevant_windows:
            windows[place, : counts[place]] = row.pred_relevant_windows[:MOST_WINDOWS]
        if row.pred_saliency_scores:
            saliency[place, : clips[place]] = row.pred_saliency_scores
    return Predictions(windows if has_windows else None, counts, saliency if has_saliency else None, clips)


def _have(rows: Sequence[PredictionRow], key: str, present: list[bool]) -> bool:
    if any(present) and not all(present):
        lacking = [row.id for row, has in zip(rows, present, strict=True) if not has]
        raise DatasetError(
            f"some predictions have {key} and some not",
            received=f"none for qid {listed(lacking)}",
            expected=f"{key} for every query, or for none",
        )
    return any(present)


def listed(items: Sequence[str], between: str = ", ") -> str:
    """``items`` in one text for a message, the first ten by name and how many more there are."""
    shown = list(items[:_LISTED])
    if len(items) > _LISTED:
        shown.append(f"and {len(items) - _LISTED:,} more")
    return between.join(shown)
