"""A dataset as batches of model input, in file order; memory is bounded by one batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..gates.manifest import Manifest
from .annotations import Annotation, read_annotations
from .dataset import BATCH_SIZE, AnyPath, FeatureSources, SourceOptions
from .features import FeatureReader
from .prepare import collate, prepare

Batch = dict[str, NDArray[np.float32]]


def batches(
    manifest: Manifest,
    annotations: str | Path | Sequence[Annotation],
    *,
    features: AnyPath | FeatureSources | None = None,
    batch_size: int = BATCH_SIZE,
    skip: Collection[str | int] = (),
    **folders: Unpack[SourceOptions],
) -> Iterator[tuple[list[str], Batch]]:
    """Yield (ids, batch): the qids as text, and the model's full set of inputs as ``collate`` pads them.

    - ``annotations``: an annotation file, or queries read from one; their order is kept.
    - ``features``: the folder that holds one folder per source; ``video_features``, ``audio_features`` and
      ``text_features`` override it. Or the :class:`FeatureSources` that say all of this.
    - ``skip``: qids to leave out. Batches form over the queries that remain.

    Folders and annotations are looked up at once, features as the batches are drawn. Raises
    :class:`~gatescope.runtime.errors.DatasetError` and
    :class:`~gatescope.runtime.errors.UsageError`.
    """
    sources = features if isinstance(features, FeatureSources) else FeatureSources.of(features, **folders)
    found = sources.find(manifest)
    if isinstance(annotations, str | Path):
        annotations = read_annotations(annotations)
    left_out = frozenset(map(str, skip))
    chosen = [annotation for annotation in annotations if annotation.qid not in left_out]
    groups = grouped(chosen, batch_size)
    reader = FeatureReader(found)
    return (([a.qid for a in group], read_batch(manifest, reader, group)) for group in groups)


def grouped(annotations: Sequence[Annotation], batch_size: int) -> Iterator[Sequence[Annotation]]:
    """``annotations`` in runs of ``batch_size``, the last one shorter."""
    if batch_size < 1:
        raise UsageError("the batch size must be at least 1", received=str(batch_size))
    starts = range(0, len(annotations), batch_size)
    return (annotations[start : start + batch_size] for start in starts)


def read_batch(manifest: Manifest, reader: FeatureReader, group: Sequence[Annotation]) -> Batch:
    """Read, prepare and pad the samples of one batch."""
    samples = [
        prepare(manifest, video=raw.video, audio=raw.audio, text=raw.text)
        for raw in (reader.read(annotation) for annotation in group)
    ]
    return collate(samples)
