"""The batches of a run in the order in which they are computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..plan import Plan
from .buckets import buckets


@dataclass(frozen=True)
class Group:
    """The samples of one batch.

    - ``places``: where they stand among all samples of the run, ascending.
    - ``part``: the part that all of them belong to, which has ``of_part`` batches.
    """

    part: int
    of_part: int
    places: list[int]


def groups(plan: Plan) -> Iterator[Group]:
    """The batches of the parts that are missing, part by part.

    A model with exact batching gives a sample the same in any batch, so within a part samples of similar
    lengths share one. Reference batching is file order and the given batch size. Either way the batches of a
    part follow from its samples alone, so a resumed run has those of an undisturbed one.
    """
    info = plan.writer.info
    size = info.samples_per_part
    for part in range(plan.writer.next_part, info.parts):
        places = range(part * size, min((part + 1) * size, len(plan.samples)))
        window = slice(places.start, places.stop)
        if info.manifest.batching == "exact":
            chosen = buckets(plan.clips[window], plan.words[window], info.batch_size)
            batches = [[places[place] for place in batch] for batch in chosen]
        else:
            starts = range(0, len(places), info.batch_size)
            batches = [list(places[start : start + info.batch_size]) for start in starts]
        for batch in batches:
            yield Group(part, len(batches), batch)
