"""Sample ids: what may be one, which samples of a batch it names, and how it is written down as text."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, cast

from ..errors import InputError

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_MOST_KEPT = 60


@dataclass(frozen=True)
class BatchIds:
    """The ids of one batch: one for the whole of it, or one a sample (``each``)."""

    ids: tuple[Hashable, ...]
    each: bool


def checked_id(sample_id: object) -> Hashable | list[Hashable]:
    """``sample_id`` as it is kept: a hashable id, or a list of them, one a sample of the batch.

    Arrays and tensors count as the numbers or lists in them. A tuple is one id. Raises
    :class:`~gatescope.runtime.errors.InputError` for what cannot be an id, and for a list that names one id
    twice.
    """
    if not isinstance(sample_id, str) and hasattr(sample_id, "tolist"):
        sample_id = cast(Any, sample_id).tolist()
    if not isinstance(sample_id, list):
        return _hashable(sample_id)
    ids = [_hashable(one) for one in cast(list[object], sample_id)]
    if len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise InputError(
            "two samples of one batch cannot have the same id",
            received=f"{twice!r} more than once in a list of {len(ids)}",
            fix="give each sample of the batch its own id",
        )
    return ids


def ids_of_batch(sample_id: Hashable | list[Hashable], samples: int) -> BatchIds:
    """The ids for a batch of ``samples``; raises :class:`InputError` where a list has another length."""
    if not isinstance(sample_id, list):
        return BatchIds((sample_id,), each=False)
    ids = sample_id
    if len(ids) != samples:
        raise InputError(
            "the list of sample ids does not fit the batch",
            received=f"{len(ids)} ids for a batch of {samples}",
            expected=f"{samples} ids, or one for the whole batch",
            fix="call set_current_sample_id with the ids of this batch before it runs",
        )
    return BatchIds(tuple(ids), each=True)


def id_text(sample_id: Hashable) -> str:
    """An id as text that any file can hold."""
    return str(sample_id).encode("utf-8", "backslashreplace").decode()


def distinct_texts(ids: Iterable[tuple[Hashable, int]]) -> list[list[str]]:
    """A text for every sample of every (id, batch size): ``id`` alone, ``id/0``, ``id/1``, … in a batch.

    Different samples get different texts: where 1 and "1" are both ids, the later one says its type too.
    """
    taken: set[str] = set()
    texts: list[list[str]] = []
    for sample_id, samples in ids:
        text = id_text(sample_id)
        rows = [text] if samples == 1 else [f"{text}/{row}" for row in range(samples)]
        texts.append([_untaken(row, type(sample_id).__name__, taken) for row in rows])
    return texts


def file_name(text: str, *, reserved: Iterable[str] = ()) -> str:
    """A file name for an id: the id itself where that is safe, else what is safe of it and a hash.

    Different ids get different names, none of which leads out of its folder or is in ``reserved``.
    """
    if _PLAIN.fullmatch(text) and text not in reserved:
        return text
    return _hashed(text)


def file_names(texts: Iterable[str]) -> dict[str, str]:
    """A file name for every one of a set of ids, as :func:`file_name` gives it.

    Where two ids differ only in case both names get a hash: some file systems take ``A`` and ``a`` for one.
    """
    names = {text: file_name(text) for text in texts}
    alike = Counter(name.casefold() for name in names.values())
    return {text: name if alike[name.casefold()] == 1 else _hashed(text) for text, name in names.items()}


def _hashed(text: str) -> str:
    kept = re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:_MOST_KEPT]
    # "~" is in no plain name, so a hashed name never equals one.
    return f"{kept}~{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _hashable(sample_id: object) -> Hashable:
    try:
        hash(sample_id)
    except TypeError as error:
        raise InputError(
            "this cannot be a sample id",
            received=f"a {type(sample_id).__name__}",
            expected="text, a number, or anything else that can be a key of a dict; or a list of such ids",
        ) from error
    return cast(Hashable, sample_id)


def _untaken(text: str, kind: str, taken: set[str]) -> str:
    candidate, number = text, 1
    while candidate in taken:
        candidate = f"{text} ({kind})" if number == 1 else f"{text} ({kind} {number})"
        number += 1
    taken.add(candidate)
    return candidate
