"""Which queries of an annotation file a run takes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ..errors import UnknownSampleError, UsageError
from .annotations import Annotation

_SHOWN = 20


def select(
    annotations: Sequence[Annotation],
    *,
    max_samples: int | None = None,
    sample_ids: Sequence[str] | None = None,
) -> list[Annotation]:
    """The queries with a qid in ``sample_ids`` (default: all), of them the first ``max_samples``; file order.

    Raises :class:`~gatescope.runtime.errors.UsageError` for a ``max_samples`` below 1 and
    :class:`~gatescope.runtime.errors.UnknownSampleError` that lists the ids no query has.
    """
    if max_samples is not None and max_samples < 1:
        raise UsageError("--max-samples must be at least 1", received=str(max_samples))
    chosen = list(annotations)
    if sample_ids is not None:
        wanted = set(sample_ids)
        chosen = [annotation for annotation in annotations if annotation.qid in wanted]
        unknown = sorted(wanted - {annotation.qid for annotation in chosen})
        if unknown:
            raise _unknown(unknown, [annotation.qid for annotation in annotations])
    return chosen[:max_samples]


def _unknown(unknown: list[str], known: list[str]) -> UnknownSampleError:
    shown = ", ".join(unknown[:_SHOWN]) + (
        f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    )
    near = list(
        dict.fromkeys(match for name in unknown for match in difflib.get_close_matches(name, known, 2))
    )
    return UnknownSampleError(
        "the annotation file has no such sample",
        received=shown,
        expected=f"a qid of the file, such as {', '.join((near or known)[:5])}",
        fix="check the ids given to --sample",
    )
