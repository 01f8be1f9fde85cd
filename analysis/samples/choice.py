"""Which samples a report shows one by one: those asked for, all, or a few that say most."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import polars as pl

from ...runtime.errors import UsageError
from ..statistics.wide import row_means, wide

#: As an id among those asked for: every sample.
ALL = "all"
#: How many exemplars of each sort.
EACH = 2

_NEAR = 3


def exemplars(
    per_sample: pl.DataFrame, videos: pl.DataFrame, keys: Sequence[tuple[int, str]], *, by_video: bool
) -> dict[str, str]:
    """A few telling samples, and why each is one: ``most open``, ``least open``, ``unusual``.

    Open: by mean \\|g\\| over all gates. Unusual: farthest from the others, by the root mean square of the
    standardised means. ``videos``: ``sample_id, vid``, in the order that decides between equals. With
    ``by_video`` no two are of one video, whose samples share their gates. None is named twice.
    """
    chosen = videos.unique("vid", keep="first", maintain_order=True) if by_video else videos
    ids: list[str] = chosen["sample_id"].to_list()
    size = row_means(wide(per_sample, "mean_abs", ids, keys))
    means = wide(per_sample, "mean", ids, keys)
    away = means - row_means(means.T)
    variance = row_means((away**2).T)
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.sqrt(row_means(np.where(variance > 0, away**2 / variance, np.nan)))
    found: dict[str, str] = {}
    for reason, measure in (("most open", -size), ("least open", size), ("unusual", -distance)):
        ranked = [ids[at] for at in np.argsort(measure, kind="stable") if np.isfinite(measure[at])]
        for one in [one for one in ranked if one not in found][:EACH]:
            found[one] = reason
    return found


def asked_for(ids: Sequence[str], queries: pl.DataFrame) -> list[str]:
    """The sample_ids behind ``ids``, each a sample_id or a qid of ``queries``, in their order, each once.

    Raises :class:`~gatescope.runtime.errors.UsageError` for an id that the run does not have.
    """
    samples: set[str] = set(queries["sample_id"].to_list())
    of_qid: dict[str, str] = dict(queries.select("qid", "sample_id").iter_rows())
    found: dict[str, None] = {}
    for one in ids:
        sample_id = one if one in samples else of_qid.get(one)
        if sample_id is None:
            known = list(dict.fromkeys([*queries["sample_id"].to_list(), *of_qid]))
            near = difflib.get_close_matches(one, known, _NEAR) or known[:_NEAR]
            raise UsageError(
                f"the run has no sample '{one[:80]}'",
                expected=f"a sample_id or qid, such as {', '.join(name[:80] for name in near)}",
            )
        found[sample_id] = None
    return list(found)
