"""Which samples the caller of an analysis asked for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import polars as pl

from ...runtime.errors import UsageError

#: As an id among those asked for: every sample.
ALL = "all"

_NEAR = 3
_SHOWN = 80


def asked_for(ids: Sequence[str], queries: pl.DataFrame) -> dict[str, str]:
    """The sample_id behind each of ``ids``, which are sample_ids or qids of ``queries``, in their order.

    Raises :class:`~gatescope.runtime.errors.UsageError` for an id that is neither.
    """
    samples: set[str] = set(queries["sample_id"].to_list())
    of_qid: dict[str, str] = dict(queries.select("qid", "sample_id").iter_rows())
    found: dict[str, str] = {}
    for one in ids:
        sample_id = one if one in samples else of_qid.get(one)
        if sample_id is None:
            known = list(dict.fromkeys([*queries["sample_id"].to_list(), *of_qid]))
            near = difflib.get_close_matches(one, known, _NEAR) or known[:_NEAR]
            raise UsageError(
                f"the run has no sample '{one[:_SHOWN]}'",
                expected=f"a sample_id or qid, such as {', '.join(name[:_SHOWN] for name in near)}"
                if near
                else None,
            )
        found[one] = sample_id
    return found


def known_to(ids: Sequence[str], queries: pl.DataFrame) -> tuple[str, ...]:
    """Those of ``ids`` that are samples or queries of a run, or mean all of them."""
    known = {ALL, *queries["sample_id"].to_list(), *queries["qid"].to_list()}
    return tuple(one for one in ids if one in known)
