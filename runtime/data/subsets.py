"""Reads which queries belong to a named subset: ``--subset NAME=FILE``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from ..errors import DatasetError, UsageError
from ..files import local

_SHOWN = 5
_EXPECTED = "JSON lines with a qid, or a list of qids: one per line, or a JSON list"


class _BadEntryError(ValueError):
    """Why something in the file is not a qid."""


def read_subsets(specs: Sequence[str], known: Iterable[str]) -> dict[str, frozenset[str]]:
    """The qids of every subset, by its name, from specifications ``NAME=FILE``.

    A file holds JSON lines with a ``qid`` (such as annotations), one qid a line, or a JSON list of qids. It
    may name queries beyond ``known``, the qids at hand, but must name one of them; all its qids are returned.
    Raises :class:`~gatescope.runtime.errors.UsageError` for a specification that is none and
    :class:`~gatescope.runtime.errors.DatasetError` for a file that cannot be read or names no known query.
    """
    at_hand = frozenset(known)
    subsets: dict[str, frozenset[str]] = {}
    for spec in specs:
        name, equals, file = spec.partition("=")
        name = name.strip()
        if not (equals and name and file):
            raise UsageError(
                f"--subset '{spec}' does not name a subset and its file",
                expected="NAME=FILE, such as audio=audio_val.jsonl",
            )
        if name in subsets:
            raise UsageError(f"two subsets are called '{name}'", fix="give every --subset a name of its own")
        qids = _read(local(file))
        if not qids & at_hand:
            raise DatasetError(
                f"the subset '{name}' ({file}) has none of the queries at hand",
                received=f"qid {', '.join(sorted(qids)[:_SHOWN])} …"[:200],
                expected=f"some of qid {', '.join(sorted(at_hand)[:_SHOWN])} …"[:200],
                fix="give the file whose queries were run",
            )
        subsets[name] = qids
    return subsets


def subset_files(specs: Sequence[str]) -> dict[str, str]:
    """The file of every subset, by its name, from specifications that :func:`read_subsets` took."""
    return {name.strip(): file for name, _, file in (spec.partition("=") for spec in specs)}


def _read(path: Path) -> frozenset[str]:
    try:
        if not path.is_file():
            raise DatasetError(f"there is no subset file {path}", fix="check the path given to --subset")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path} cannot be read", received=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text", expected=_EXPECTED) from error
    try:
        qids = frozenset(_entries(text))
    except _BadEntryError as error:
        raise DatasetError(
            f"{path} is not a list of queries", received=str(error), expected=_EXPECTED
        ) from error
    if not qids:
        raise DatasetError(f"{path} names no query", expected=_EXPECTED)
    return qids


def _entries(text: str) -> Iterable[str]:
    if text.lstrip().startswith("["):
        listed = _json(text, "the list")
        for place, entry in enumerate(cast(list[Any], listed), start=1):
            yield _qid(entry, f"entry {place}")
        return
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line:
            where = f"line {number}"
            yield _qid(_json(line, where), where) if line.startswith(("{", '"')) else line


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _BadEntryError(f"{where} is not JSON ({error})") from error


def _qid(entry: Any, where: str) -> str:
    if isinstance(entry, dict):
        row = cast(dict[str, Any], entry)
        if "qid" not in row:
            raise _BadEntryError(f"{where} has no qid")
        entry = row["qid"]
    if isinstance(entry, bool) or not isinstance(entry, int | str) or entry == "":
        raise _BadEntryError(f"the qid of {where} is {json.dumps(entry)[:60]}")
    return str(entry)
