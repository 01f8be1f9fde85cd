"""A dataset as batches of model input, in file order; memory is bounded by one batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..gates.manifest import Manifest
from .annotations import Annotation, read_annotations
from .features import FeatureReader
from .folders import FeatureFolders
from .prepare import collate, prepare

Batch = dict[str, NDArray[np.float32]]


def batches(
    manifest: Manifest,
    annotations: str | Path | Sequence[Annotation],
    *,
    features: str | Path | None = None,
    video_features: Sequence[str | Path] | None = None,
    audio_features: str | Path | None = None,
    text_features: str | Path | None = None,
    batch_size: int = 32,
    skip: Collection[str | int] = (),
) -> Iterator[tuple[list[str], Batch]]:
    """Yield (ids, batch): the qids as text, and the model's full set of inputs as ``collate`` pads them.

    - ``annotations``: an annotation file, or queries read from one; their order is kept.
    - ``features``: the folder that holds one folder per source; the explicit folders override it.
    - ``skip``: qids to leave out. Batches form over the queries that remain.

    Folders and annotations are looked up at once, features as the batches are drawn. Raises
    :class:`~gatescope.runtime.errors.DatasetError` and
    :class:`~gatescope.runtime.errors.UsageError`.
    """
    folders = FeatureFolders.find(
        manifest, features, video=video_features, audio=audio_features, text=text_features
    )
    if isinstance(annotations, str | Path):
        annotations = read_annotations(annotations)
    left_out = frozenset(map(str, skip))
    chosen = [annotation for annotation in annotations if annotation.qid not in left_out]
    groups = grouped(chosen, batch_size)
    reader = FeatureReader(folders)
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
