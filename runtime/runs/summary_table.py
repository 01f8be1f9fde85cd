"""In-graph statistics of samples as rows of the summary table, one per sample, layer and gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import GatescopeError
from ..gates.vocabulary import SUMMARY_FIELDS
from .schema import SUMMARY_SCHEMA


@dataclass(frozen=True, eq=False)
class SampleSummary:
    """The statistics of one sample's gates: by kind, float32 (layers, fields)."""

    sample_id: str
    summaries: dict[str, NDArray[np.float32]]


def cut_summary(sample_id: str, summaries: Mapping[str, NDArray[np.float32]], row: int) -> SampleSummary:
    """The statistics of row ``row`` of a batch, (B, layers, fields) by kind.

    Raises :class:`~gatescope.runtime.errors.GatescopeError` where one is NaN or Inf.
    """
    for kind, array in summaries.items():
        if not np.isfinite(array[row]).all():
            raise GatescopeError(
                f"the model's {kind} gates for {sample_id} are not finite",
                received="NaN or Inf in their statistics",
                fix="check the sample's features, and the model",
            )
    return SampleSummary(sample_id, {kind: array[row].copy() for kind, array in summaries.items()})


def summary_table(samples: Sequence[SampleSummary]) -> pl.DataFrame:
    """The rows of ``samples``, ordered by sample, layer and gate (as the kinds are ordered)."""
    rows = [
        (sample.sample_id, layer, kind, array[layer])
        for sample in samples
        for layer in range(max((len(array) for array in sample.summaries.values()), default=0))
        for kind, array in sample.summaries.items()
        if layer < len(array)
    ]
    if not rows:
        return pl.DataFrame(schema=SUMMARY_SCHEMA)
    numbers = np.stack([row for *_, row in rows])
    columns: dict[str, object] = {
        "sample_id": [sample_id for sample_id, *_ in rows],
        "layer": [layer for _, layer, *_ in rows],
        "gate": [kind for _, _, kind, _ in rows],
    }
    for place, name in enumerate(SUMMARY_FIELDS):
        column = numbers[:, place]
        columns[name] = column if SUMMARY_SCHEMA[name] == pl.Float32 else np.rint(column).astype(np.uint32)
    return pl.DataFrame(columns, schema=SUMMARY_SCHEMA)
