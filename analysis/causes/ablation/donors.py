"""Which video donates its gates and its audio to which: every video donates once, none to itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ....runtime.array_types import Float32s
from ....runtime.data.annotations import Annotation

DONOR_SEED = 20_261


def donors(queries: Sequence[Annotation], *, seed: int = DONOR_SEED) -> list[Annotation]:
    """For every query a query of its video's donor, the donor's first one; always the same for these queries.

    The donors are a random cyclic order of the videos (Sattolo, 1986), so that none is its own. All queries
    of a video share one donor. With a single video there is no other: it gets itself.
    """
    first: dict[str, Annotation] = {}
    for query in queries:
        first.setdefault(query.vid, query)
    order = list(first)
    rng = np.random.default_rng(seed)
    for last in range(len(order) - 1, 0, -1):
        other = int(rng.integers(last))
        order[last], order[other] = order[other], order[last]
    donor = dict(zip(first, order, strict=True))
    return [first[donor[query.vid]] for query in queries]


def fitted(values: Float32s, lengths: NDArray[np.intp], clips: int) -> Float32s:
    """``values`` (B, …, L, D) with ``lengths`` (B,) real clips, cropped or repeated to ``clips`` each."""
    taken = np.arange(clips)[None, :] % lengths[:, None]
    index = taken.reshape(len(values), *([1] * (values.ndim - 3)), clips, 1)
    return np.take_along_axis(values, index, axis=-2)
