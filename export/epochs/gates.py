"""The gates of one checkpoint on a fixed set of videos, as statistics per layer and kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...runtime.data.annotations import Annotation
from ...runtime.data.batches import Batch, batches
from ...runtime.data.check import check_samples
from ...runtime.data.dataset import Dataset
from ...runtime.data.mistaken import refuse_wrong_order
from ...runtime.errors import BadSamplesError, DatasetError
from ...runtime.gates.manifest import Manifest
from ...runtime.session.tracked import session_batch
from ...runtime.statistics.limits import GateLimits
from ...runtime.statistics.moments import Moments, MomentSummary
from .snapshots import GateGraph

#: Videos whose gates are computed for each checkpoint where the user does not say how many.
VIDEOS_BY_DEFAULT = 100


@dataclass(frozen=True)
class LayerGates:
    """One layer's gate of one kind over all valid entries of the videos.

    ``summary``: of its values g. ``share_shut``: the share that multiplies its branch by less than 0.05:
    |m| < 0.05, m = g, or 1 + g where the gate acts so.
    """

    layer: int
    kind: str
    summary: MomentSummary
    share_shut: float


@dataclass(frozen=True)
class Videos:
    """The videos that every checkpoint runs on: one query of each, and what is wrong with others."""

    queries: tuple[Annotation, ...]
    bad: tuple[tuple[str, str], ...]
    batches: tuple[Batch, ...]


def read_videos(dataset: Dataset, manifest: Manifest, batch_size: int) -> Videos:
    """One query per video of ``dataset``, the first ones, read and padded; all of them stay in memory.

    Raises :class:`~gatescope.runtime.errors.BadSamplesError` where features cannot be used and bad samples
    are not left out, and what finding and reading the data raise.
    """
    queries = list({query.vid: query for query in reversed(dataset.queries())}.values())[::-1]
    if dataset.selection.max_samples is None and dataset.selection.samples is None:
        queries = queries[:VIDEOS_BY_DEFAULT]
    folders = dataset.sources.find(manifest)
    checked = check_samples(folders, queries)
    if not checked.good:
        refuse_wrong_order(folders, queries)
    if checked.bad and not dataset.skip_bad:
        raise BadSamplesError(checked.bad, len(queries))
    if not checked.good:
        raise DatasetError(
            "none of the videos can be run",
            received=f"{checked.bad[0][0]}: {checked.bad[0][1]}",
            fix="check that --features is the right folder for these annotations",
        )
    found = batches(manifest, checked.good, features=dataset.sources, batch_size=batch_size)
    return Videos(tuple(checked.good), tuple(checked.bad), tuple(batch for _, batch in found))


def gates_of(graph: GateGraph, manifest: Manifest, feed: Iterable[Batch]) -> Sequence[LayerGates]:
    """Every kind after the other, layers in order; a gate's range is that of ``graph``'s own weights."""
    values: dict[tuple[int, str], Moments] = {}
    factors: dict[tuple[int, str], Moments] = {}
    for shape in graph.gate_shapes:
        for one in shape.layers:
            key, (low, high) = (one.layer, shape.kind), one.range
            values[key] = Moments(GateLimits.of(low, high))
            if one.acts_as == "1+g":
                factors[key] = Moments(GateLimits.of(1 + low, 1 + high))
    for batch in feed:
        outputs = graph.run(batch)
        stacked = {kind: outputs[manifest.gate_output(kind)] for kind in manifest.tracked_kinds}
        tracked = session_batch(manifest, stacked, batch)
        for (layer, kind), moments in values.items():
            found = tracked.valid(kind, layer)
            moments.update(found)
            if (layer, kind) in factors:
                factors[layer, kind].update(1 + found)
    done: list[LayerGates] = []
    for key, moments in values.items():
        shut = factors.get(key, moments).finalise().share_near_zero
        done.append(LayerGates(*key, moments.finalise(), shut))
    return done
