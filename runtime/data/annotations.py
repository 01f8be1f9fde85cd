"""Reads an annotation file: one JSON object per line, of which only what a run needs is kept.

The layouts are QVHighlights, Charades-STA and TVSum. Whatever else a line holds (windows, saliency) stays
on disk, so that twenty thousand queries cost a few megabytes.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DatasetError
from ..files import local
from .json_lines import BOM, BadLineError, bad_lines, encodable, identifier, json_kind, json_object, lines_of

# Beyond this a duration is a mistake, and near it float32 still tells seconds apart from hours.
_LONGEST = 1e9
_PREDICTED = ("pred_relevant_windows", "pred_saliency_scores")


@dataclass(frozen=True, slots=True)
class Annotation:
    """One query.

    - ``qid``: the id as text. ``json_qid``: the id as the file has it, for predictions.
    - ``vid``: the video's id as text.
    - ``duration``: seconds (TVSum: clips), positive and finite.
    - ``line``: line number in the file, from 1.
    """

    qid: str
    json_qid: int | str
    query: str
    vid: str
    duration: float
    line: int


def read_annotations(path: str | Path) -> list[Annotation]:
    """Read every query of ``path`` in file order; blank lines are skipped.

    ``qid`` and ``vid`` may be whole numbers or text and count as the same id when their text is the same.
    Raises :class:`~gatescope.runtime.errors.DatasetError` that lists what is wrong with which
    lines, or that says that the file holds predictions.
    """
    path = local(path)
    found: list[Annotation] = []
    first_line: dict[str, int] = {}
    bad: list[tuple[int, str]] = []
    for number, line in enumerate(lines_of(path, "annotation file", "--annotations"), start=1):
        if number == 1:
            line = line.removeprefix(BOM)
        if not line.strip():
            continue
        try:
            annotation = _annotation(path, line, number)
            if annotation.qid in first_line:
                raise BadLineError(f"repeats the qid {annotation.qid} of line {first_line[annotation.qid]}")
        except BadLineError as error:
            bad.append((number, str(error)))
            continue
        first_line[annotation.qid] = number
        found.append(annotation)
    if bad:
        raise bad_lines(
            path, bad, "one JSON object per line with qid (unique), query, vid and duration (seconds > 0)"
        )
    if not found:
        raise DatasetError(
            f"the annotation file {path} is empty", expected="one JSON object per line, one line per query"
        )
    return found


def _annotation(path: Path, line: bytes, number: int) -> Annotation:
    row = json_object(line)
    missing = [key for key in ("qid", "query", "vid", "duration") if key not in row]
    if missing:
        _refuse_predictions(path, row, number)
        raise BadLineError(f"lacks {', '.join(missing)}")
    qid = identifier(row, "qid")
    query = row["query"]
    if not isinstance(query, str):
        raise BadLineError(f"query is {json_kind(query)}, not text")
    return Annotation(
        qid=str(qid),
        json_qid=qid,
        query=encodable(query, "query"),
        # Queries of one video share one string.
        vid=sys.intern(str(identifier(row, "vid"))),
        duration=_duration(row["duration"]),
        line=number,
    )


def _refuse_predictions(path: Path, row: dict[str, Any], number: int) -> None:
    if predicted := [key for key in _PREDICTED if key in row]:
        raise DatasetError(
            f"{path} holds predictions, not annotations",
            received=f"line {number} with {' and '.join(predicted)}",
            expected="one JSON object per line with qid, query, vid and duration",
            fix="name the annotation file that these predictions answer",
        )


def _duration(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadLineError(f"duration is {json_kind(value)}, not a number")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not 0 < seconds < _LONGEST:
        raise BadLineError(f"duration is {seconds:g}, not a positive number of seconds below {_LONGEST:g}")
    return seconds
