"""Reads from an annotation file in which clips an audio event is known to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from ...runtime.data.annotations import read_annotations
from ...runtime.errors import DatasetError

KEY = "gatescope_events"


def planted_events(annotations: Path) -> dict[str, frozenset[int]]:
    """The clips (indices from 0) of the event for every qid whose line has a ``gatescope_events`` list.

    Empty where no line has one: ordinary annotations do not know of events. Raises
    :class:`~gatescope.runtime.errors.DatasetError` for a file that cannot be read or a list that holds
    anything but clip indices.
    """
    qid_of_line = {annotation.line: annotation.qid for annotation in read_annotations(annotations)}
    events: dict[str, frozenset[int]] = {}
    with annotations.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if number not in qid_of_line or KEY.encode() not in line:
                continue
            row = cast(dict[str, Any], json.loads(line.decode("utf-8-sig")))
            if KEY in row:
                events[qid_of_line[number]] = _clips(row[KEY], f"line {number} of {annotations}")
    return events


def _clips(value: Any, where: str) -> frozenset[int]:
    found = cast(list[Any], value) if isinstance(value, list) else [None]
    if any(isinstance(clip, bool) or not isinstance(clip, int) or clip < 0 for clip in found):
        raise DatasetError(
            f"{KEY} in {where} is not a list of clips",
            received=json.dumps(value)[:80],
            expected="a list of clip indices from 0, such as [3, 4, 5]; [] for no event",
        )
    return frozenset(cast(list[int], found))
