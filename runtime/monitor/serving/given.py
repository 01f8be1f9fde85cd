"""What a caller says of a request's samples, as the monitor keeps it: an id and valid clips for each."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, cast

from numpy.typing import NDArray

from ...brief import counted
from ..log.records import short_id


def ids_of_samples(ids: object, samples: int) -> tuple[str, ...] | None:
    """One id per sample, as text; raises ``ValueError`` for another number of them."""
    if ids is None:
        return None
    plain = _plain(ids)
    if not isinstance(plain, Iterable) or isinstance(plain, str | bytes):
        plain = [plain]
    # One more than there should be: an iterator may have no end.
    told = [short_id(str(_plain(one))) for one in islice(cast(Iterable[object], plain), samples + 1)]
    if len(told) != samples:
        number = f"more than {counted(samples, 'id')}" if len(told) > samples else counted(len(told), "id")
        raise ValueError(f"{number} for {counted(samples, 'sample')}; the request is not counted")
    return tuple(told)


def _plain(ids: object) -> object:
    """Arrays and tensors, of any library, as lists and numbers; anything else as it is."""
    to_list = getattr(ids, "tolist", None)
    return to_list() if callable(to_list) else ids


def longest_of(gates: Mapping[str, NDArray[Any]]) -> int:
    """L of clip-wise and elementwise gates (B, layers, L, 1 | d), 1 of global ones."""
    return max(array.shape[2] for array in gates.values())


def lengths_of_samples(clips: Sequence[int], samples: int, most: int) -> tuple[int, ...]:
    """Valid clips of each sample; raises ``ValueError`` for others than whole numbers from 0 on.

    ``most``: L, where more than one: no sample has more valid clips.
    """
    lengths = tuple(operator.index(one) for one in clips)
    longest = max(lengths, default=0)
    if len(lengths) != samples or min(lengths, default=0) < 0 or (most > 1 and longest > most):
        of = f" of {most} clips" if most > 1 else ""
        raise ValueError(f"clips={clips!r} for {counted(samples, 'sample')}{of}; the request is not counted")
    return lengths
