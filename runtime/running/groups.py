"""The batches of a run in the order in which they are computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .buckets import buckets
from .plan import RunPlan

# On CUDA a new shape of batch costs more than some padding: memory is set aside for it. So lengths are
# rounded up to multiples of this.
_CUDA_STEP = 8


@dataclass(frozen=True)
class Group:
    """The samples of one batch.

    - ``places``: where they stand among all samples of the run, ascending.
    - ``clips``, ``words``: the lengths the batch is padded to.
    - ``part``: the part that all of them belong to, which has ``of_part`` batches.
    """

    part: int
    of_part: int
    places: list[int]
    clips: int
    words: int


def groups(plan: RunPlan) -> Iterator[Group]:
    """The batches of the parts that are missing, part by part.

    A model with exact batching gives a sample the same in any batch, so within a part samples of similar
    lengths share one. Reference batching is file order and the given batch size. Either way the batches of a
    part follow from its samples alone, so a resumed run has those of an undisturbed one.
    """
    info = plan.writer.info
    recipe, size = info.manifest.preprocessing, info.samples_per_part
    exact = info.manifest.batching == "exact"
    step = _CUDA_STEP if exact and info.device == "cuda" else 1
    for part in range(plan.writer.next_part, info.parts):
        places = range(part * size, min((part + 1) * size, len(plan.samples)))
        clips = _rounded(plan.clips[places.start : places.stop], step, recipe.max_v_l)
        words = _rounded(plan.words[places.start : places.stop], step, recipe.max_q_l)
        if exact:
            batches = buckets(clips, words, info.batch_size)
        else:
            starts = range(0, len(places), info.batch_size)
            batches = [list(range(len(places))[start : start + info.batch_size]) for start in starts]
        for batch in batches:
            yield Group(
                part,
                len(batches),
                [places[row] for row in batch],
                max(clips[row] for row in batch),
                max(words[row] for row in batch),
            )


def _rounded(lengths: Sequence[int], step: int, most: int) -> list[int]:
    """``lengths`` rounded up to multiples of ``step``, but not beyond ``most``, which none exceeds."""
    return [min(-(-length // step) * step, most) for length in lengths]
