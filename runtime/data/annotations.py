"""Reads an annotation file: one JSON object a line, of which only what a run needs is kept.

The layouts are QVHighlights, Charades-STA and TVSum. Whatever else a line holds (windows, saliency) stays
on disk, so that twenty thousand queries cost a few megabytes.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..errors import DatasetError

_SHOWN = 20
_BOM = b"\xef\xbb\xbf"
# Beyond this a duration is a mistake, and near it float32 still tells seconds apart from hours.
_LONGEST = 1e9


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


class _BadLineError(ValueError):
    """Why one line cannot be used."""


def read_annotations(path: str | Path) -> list[Annotation]:
    """Read every query of ``path`` in file order; blank lines are skipped.

    ``qid`` and ``vid`` may be whole numbers or text and count as the same id when their text is the same.
    Raises :class:`~gatescope.runtime.errors.DatasetError` that lists the bad lines by number.
    """
    path = Path(path)
    found: list[Annotation] = []
    first_line: dict[str, int] = {}
    bad: list[str] = []
    for number, line in enumerate(_lines(path), start=1):
        if number == 1:
            line = line.removeprefix(_BOM)
        if not line.strip():
            continue
        try:
            annotation = _annotation(line, number)
            if annotation.qid in first_line:
                raise _BadLineError(f"repeats the qid {annotation.qid} of line {first_line[annotation.qid]}")
        except _BadLineError as error:
            bad.append(f"line {number}: {error}")
            continue
        first_line[annotation.qid] = number
        found.append(annotation)
    if bad:
        raise _bad_lines(path, bad)
    if not found:
        raise DatasetError(
            f"the annotation file {path} is empty", expected="one JSON object a line, one line per query"
        )
    return found


def _lines(path: Path) -> Iterator[bytes]:
    # A special file (a pipe, a device) could block for ever, so only ordinary files are opened.
    try:
        if path.is_dir():
            raise DatasetError(
                f"{path} is a folder",
                expected="an annotation file, one JSON object a line",
                fix="name the file",
            )
        if not path.exists():
            raise DatasetError(
                f"there is no annotation file {path}", fix="check the path given to --annotations"
            )
        if not path.is_file():
            raise DatasetError(f"{path} is not an ordinary file", expected="an annotation file")
        with path.open("rb") as stream:
            yield from stream
    except (OSError, ValueError) as error:
        raise DatasetError(f"the annotation file {path} cannot be read", received=str(error)) from error


def _annotation(line: bytes, number: int) -> Annotation:
    row = _json_object(line)
    missing = [key for key in ("qid", "query", "vid", "duration") if key not in row]
    if missing:
        raise _BadLineError(f"lacks {', '.join(missing)}")
    qid = _identifier(row, "qid")
    query = row["query"]
    if not isinstance(query, str):
        raise _BadLineError(f"query is {_kind(query)}, not text")
    return Annotation(
        qid=str(qid),
        json_qid=qid,
        query=_encodable(query, "query"),
        # Queries of one video share one string.
        vid=sys.intern(str(_identifier(row, "vid"))),
        duration=_duration(row["duration"]),
        line=number,
    )


def _json_object(line: bytes) -> dict[str, Any]:
    try:
        row: Any = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _BadLineError("not UTF-8 text") from error
    except (ValueError, RecursionError) as error:
        hint = "; a JSON list? one object a line is expected" if line.lstrip().startswith(b"[") else ""
        raise _BadLineError(f"not JSON ({error}){hint}") from error
    if not isinstance(row, dict):
        raise _BadLineError(f"{_kind(row)}, not a JSON object")
    return cast(dict[str, Any], row)


def _identifier(row: dict[str, Any], key: str) -> int | str:
    value = row[key]
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _BadLineError(f"{key} is {_kind(value)}, not text or a whole number")
    if value == "":
        raise _BadLineError(f"{key} is empty")
    return _encodable(value, key) if isinstance(value, str) else value


def _encodable(text: str, key: str) -> str:
    """``text``, if UTF-8 can hold it: JSON may escape half a surrogate pair, which no file can store."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _BadLineError(f"{key} holds half a surrogate pair") from error
    return text


def _duration(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _BadLineError(f"duration is {_kind(value)}, not a number")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not 0 < seconds < _LONGEST:
        raise _BadLineError(f"duration is {seconds:g}, not a positive number of seconds below {_LONGEST:g}")
    return seconds


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _bad_lines(path: Path, bad: list[str]) -> DatasetError:
    shown = bad[:_SHOWN]
    if len(bad) > _SHOWN:
        shown.append(f"… and {len(bad) - _SHOWN} more")
    lines = "1 line" if len(bad) == 1 else f"{len(bad)} lines"
    return DatasetError(
        f"{lines} of {path} cannot be used\n    " + "\n    ".join(shown),
        expected="one JSON object a line with qid (unique), query, vid and duration (seconds > 0)",
        fix="mend these lines, or remove them",
    )
