"""Reads files of one JSON object per line: the lines, the ids in them, and how bad ones are named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from ..causes import told_causes
from ..errors import DatasetError

BOM = b"\xef\xbb\xbf"


class BadLineError(ValueError):
    """Why one line cannot be used."""


def lines_of(path: Path, what: str, flag: str) -> Iterator[bytes]:
    """The lines of ``path`` as they are; ``what`` and ``flag`` name the file and its option in errors.

    A file that is one JSON list gives one line per entry.
    Raises :class:`~gatescope.runtime.errors.DatasetError` for a file that is not there or cannot be read.
    """
    # A special file (a pipe, a device) could block for ever, so only ordinary files are opened.
    try:
        if path.is_dir():
            raise DatasetError(
                f"{path} is a folder",
                expected=f"{_article(what)}, one JSON object per line",
                fix="name the file",
            )
        if not path.exists():
            raise DatasetError(f"there is no {what} {path}", fix=f"check the path given to {flag}")
        if not path.is_file():
            raise DatasetError(f"{path} is not an ordinary file", expected=_article(what))
        with path.open("rb") as stream:
            first = stream.readline()
            if first.removeprefix(BOM).lstrip()[:1] in (b"[", b""):
                entries = _entries(first + stream.read())
                if entries is not None:
                    yield from entries
                    return
                stream.seek(0)
                first = stream.readline()
            yield first
            yield from stream
    except (OSError, ValueError) as error:
        raise DatasetError(f"the {what} {path} cannot be read", received=str(error)) from error


def _entries(text: bytes) -> list[bytes] | None:
    """The entries of one JSON list, each as a line; None for anything else."""
    if not text.removeprefix(BOM).lstrip().startswith(b"["):
        return None
    try:
        found: Any = json.loads(text.removeprefix(BOM))
    except (ValueError, RecursionError):
        return None
    # A line that holds a list is a line: only a list of objects is a file of them.
    if not isinstance(found, list) or not any(isinstance(one, dict) for one in cast(list[Any], found)):
        return None
    return [json.dumps(one).encode() for one in cast(list[Any], found)]


def json_object(line: bytes) -> dict[str, Any]:
    """The object on a line; NaN and Infinity are read too. Raises :class:`BadLineError`."""
    try:
        row: Any = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadLineError("not UTF-8 text") from error
    except (ValueError, RecursionError) as error:
        hint = "; a JSON list? one object per line is expected" if line.lstrip().startswith(b"[") else ""
        raise BadLineError(f"not JSON ({error}){hint}") from error
    if not isinstance(row, dict):
        raise BadLineError(f"{json_kind(row)}, not a JSON object")
    return cast(dict[str, Any], row)


def identifier(row: dict[str, Any], key: str) -> int | str:
    """The id under ``key``: text that UTF-8 can hold, or a whole number. Raises :class:`BadLineError`."""
    value = row[key]
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise BadLineError(f"{key} is {json_kind(value)}, not text or a whole number")
    if value == "":
        raise BadLineError(f"{key} is empty")
    return encodable(value, key) if isinstance(value, str) else value


def encodable(text: str, key: str) -> str:
    """``text``, if UTF-8 can hold it: JSON may escape half a surrogate pair, which no file can store."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadLineError(f"{key} holds half a surrogate pair") from error
    return text


def json_kind(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def bad_lines(path: Path, bad: Sequence[tuple[int, str]], expected: str) -> DatasetError:
    """The error that lists what is wrong with ``bad`` lines, pairs of a number and a reason."""
    shown = told_causes([(str(number), reason) for number, reason in bad], "line")
    lines = "1 line" if len(bad) == 1 else f"{len(bad):,} lines"
    return DatasetError(
        f"{lines} of {path} cannot be used\n    " + "\n    ".join(shown),
        expected=expected,
        fix="fix these lines, or remove them",
    )


def _article(what: str) -> str:
    return f"an {what}" if what[0] in "aeiou" else f"a {what}"
