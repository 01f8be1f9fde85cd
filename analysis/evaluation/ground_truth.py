"""Reads what an annotation file knows to be right: windows and saliency, as arrays over queries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ...runtime.array_types import Float64s
from ...runtime.causes import told_causes
from ...runtime.data.annotations import Annotation, read_annotations
from ...runtime.data.json_lines import lines_of
from ...runtime.errors import DatasetError, NoGroundTruthError

#: Saliency is annotated for stretches of this many seconds, whatever clips a model sees.
CLIP_SECONDS = 2.0
# A day of two-second clips; beyond it the duration is a mistake, and padding would fill the memory.
_MOST_CLIPS = 43_200


@dataclass(frozen=True, eq=False)
class Saliency:
    """Annotated saliency of every query.

    - ``scores`` (queries, clips, annotators) float64, 0 to 4; 0 where nobody called the clip relevant.
    - ``clips`` (queries,): how many clips each video has.
    """

    scores: Float64s
    clips: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What is right for every query, in annotation order.

    - ``windows`` (queries, most windows, 2) start and end in seconds, of which the first ``counts``
      (queries,) are real. ``saliency``: None where no line has any, as in Charades-STA.
    """

    path: Path
    queries: tuple[Annotation, ...]
    windows: Float64s
    counts: NDArray[np.intp]
    saliency: Saliency | None

    @property
    def qids(self) -> list[str]:
        """The queries' ids."""
        return [query.qid for query in self.queries]


class _Row(msgspec.Struct):
    relevant_windows: list[tuple[float, float]] | None = None
    relevant_clip_ids: list[int] | None = None
    saliency_scores: list[list[float]] | None = None
    label: Any = None


class _BadRowError(ValueError):
    """Why one line's ground truth cannot be used."""


def read_ground_truth(path: Path) -> GroundTruth:
    """The ground truth of every query of ``path``.

    Raises :class:`~gatescope.runtime.errors.DatasetError` for a file that cannot be read, lines that are
    damaged or contradict themselves (listed by number), and its subclass
    :class:`~gatescope.runtime.errors.NoGroundTruthError` for a file without any, such as a test split.
    """
    queries = read_annotations(path)
    rows: list[_Row] = []
    bad: list[tuple[str, str]] = []
    for query, line in zip(queries, _lines(path, queries), strict=True):
        try:
            row = msgspec.json.decode(line, type=_Row)
            _check(row, query)
            rows.append(row)
        except (_BadRowError, msgspec.MsgspecError) as error:
            bad.append((_place(query), str(error)))
    if faults := told_causes(bad, "line") or _incomplete(queries, rows, path):
        raise DatasetError(
            f"the ground truth of {path} cannot be used\n    " + "\n    ".join(faults),
            expected="relevant_windows [[start, end], …] in seconds; relevant_clip_ids and saliency_scores "
            "of the same length, one score an annotator",
            fix="fix these lines, or remove them",
        )
    counts = np.array([len(row.relevant_windows or []) for row in rows], np.intp)
    windows = np.zeros((len(rows), max(1, int(counts.max())), 2))
    for place, row in enumerate(rows):
        if row.relevant_windows:
            windows[place, : counts[place]] = row.relevant_windows
    return GroundTruth(path, tuple(queries), windows, counts, _saliency(queries, rows))


def _lines(path: Path, queries: Sequence[Annotation]) -> list[bytes]:
    wanted = {query.line for query in queries}
    stored = lines_of(path, "annotation file", "--annotations")
    lines = [line for number, line in enumerate(stored, start=1) if number in wanted]
    return [lines[0].removeprefix(b"\xef\xbb\xbf"), *lines[1:]]


def _place(query: Annotation) -> str:
    return f"{query.line} (qid {query.qid})"


def _check(row: _Row, query: Annotation) -> None:
    for start, end in row.relevant_windows or []:
        if not (math.isfinite(start) and math.isfinite(end) and start <= end):
            raise _BadRowError(f"the window [{start:g}, {end:g}] ends before it begins or is not finite")
    clips, scores = row.relevant_clip_ids, row.saliency_scores
    if (clips is None) != (scores is None):
        raise _BadRowError("it has only one of relevant_clip_ids and saliency_scores")
    if clips is None or scores is None:
        return
    total = clip_count(query.duration)
    if total > _MOST_CLIPS:
        raise _BadRowError(f"a duration of {query.duration:g} s is {total} clips of saliency")
    if len(clips) != len(scores):
        raise _BadRowError(f"{len(clips)} relevant clips have {len(scores)} saliency scores")
    if outside := [clip for clip in clips if not 0 <= clip < total]:
        raise _BadRowError(f"clip {outside[0]} lies outside its {total} clips of {CLIP_SECONDS:g} s")
    if not all(math.isfinite(score) for own in scores for score in own):
        raise _BadRowError("a saliency score is not finite")


def _incomplete(queries: Sequence[Annotation], rows: Sequence[_Row], path: Path) -> list[str]:
    """What lacks on some lines that others have; raises where no line has anything to compare with."""
    windows = [row.relevant_windows is not None for row in rows]
    scores = [row.saliency_scores is not None for row in rows]
    if not any(windows) and not any(scores):
        labelled = any(row.label is not None for row in rows)
        raise NoGroundTruthError(
            f"{path} has no ground truth to compare with",
            received="TVSum's labels, for which the benchmark has other metrics"
            if labelled
            else "lines without relevant_windows and saliency_scores, as in a test split",
            expected="relevant_windows, or relevant_clip_ids with saliency_scores, on every line",
            fix="give the validation split",
        )
    bad: list[tuple[str, str]] = []
    for what, known in (("relevant_windows", windows), ("saliency_scores", scores)):
        if any(known):
            bad += [
                (_place(query), f"it has no {what}, other lines do")
                for query, has in zip(queries, known, strict=True)
                if not has
            ]
    faults = told_causes(bad, "line")
    widths = {len(own) for row in rows for own in row.saliency_scores or []}
    if len(widths) > 1 or widths == {0}:
        found = ", ".join(str(width) for width in sorted(widths))
        faults.append(f"clips have scores of different numbers of annotators: {found}")
    return faults


def clip_count(duration: float) -> int:
    """How many clips of saliency a video of ``duration`` seconds has."""
    return int(duration / CLIP_SECONDS)


def _saliency(queries: Sequence[Annotation], rows: Sequence[_Row]) -> Saliency | None:
    if all(row.saliency_scores is None for row in rows):
        return None
    clips = np.array([clip_count(query.duration) for query in queries], np.intp)
    annotators = max((len(own) for row in rows for own in row.saliency_scores or []), default=1)
    scores: Float64s = np.zeros((len(rows), max(1, int(clips.max())), annotators))
    for place, row in enumerate(rows):
        if row.relevant_clip_ids and row.saliency_scores:
            of_query: Any = scores[place]
            of_query[row.relevant_clip_ids] = row.saliency_scores
    return Saliency(scores, clips)
