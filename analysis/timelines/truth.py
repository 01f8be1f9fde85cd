"""What annotations know of single queries: their windows and how salient each clip was rated."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ...runtime.data.annotations import read_annotations
from ...runtime.errors import DatasetError

# Saliency is annotated for stretches of this many seconds, whatever clips a model sees.
_RATED_SECONDS = 2.0


@dataclass(frozen=True)
class Truth:
    """One query's ground truth.

    ``windows``: start and end in seconds. ``ratings``: start and end in seconds and the annotators' mean, of the
    stretches they called relevant.
    """

    windows: tuple[tuple[float, float], ...] = ()
    ratings: tuple[tuple[float, float, float], ...] = ()


class _Line(msgspec.Struct):
    relevant_windows: list[tuple[float, float]] | None = None
    relevant_clip_ids: list[int] | None = None
    saliency_scores: list[list[float]] | None = None


def truth_of(annotations: Path, qids: Collection[str]) -> dict[str, Truth]:
    """The ground truth of ``qids``, as far as ``annotations`` has any.

    Raises :class:`~gatescope.runtime.errors.DatasetError` for a file that cannot be read, or a line of one of
    them whose windows or scores are of no known layout.
    """
    qid_of_line = {one.line: one.qid for one in read_annotations(annotations) if one.qid in qids}
    found: dict[str, Truth] = {}
    with annotations.open("rb") as stream:
        for place, line in enumerate(stream, start=1):
            if place not in qid_of_line:
                continue
            try:
                row = msgspec.json.decode(line.removeprefix(b"\xef\xbb\xbf"), type=_Line)
            except msgspec.MsgspecError as error:
                raise DatasetError(
                    f"the ground truth in line {place} of {annotations} cannot be used",
                    received=str(error),
                    expected="relevant_windows [[start, end], …] in seconds, relevant_clip_ids and saliency_scores",
                    fix="mend this line, or analyse without --annotations",
                ) from error
            found[qid_of_line[place]] = Truth(tuple(row.relevant_windows or ()), _ratings(row))
    return found


def _ratings(row: _Line) -> tuple[tuple[float, float, float], ...]:
    rated = zip(row.relevant_clip_ids or (), row.saliency_scores or (), strict=False)
    return tuple(
        (clip * _RATED_SECONDS, (clip + 1) * _RATED_SECONDS, sum(scores) / len(scores))
        for clip, scores in rated
        if scores
    )


def query_texts(annotations: Path) -> dict[str, str]:
    """Each query's words, by qid."""
    return {one.qid: one.query for one in read_annotations(annotations)}
