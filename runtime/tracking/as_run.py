"""Writes a tracker's history as a run folder, so that the analysis reads it like any other run."""

from __future__ import annotations

import platform
from collections.abc import Hashable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl

from ..data.dataset import Selection
from ..errors import GatescopeError
from ..runs.folder import claim_new, earlier_run, writing
from ..runs.info import FeatureRef, FileRef, RunInfo, Timings
from ..runs.reader import Run, open_run
from ..runs.schema import SAMPLES_SCHEMA
from ..runs.table import SampleGates, cut_sample
from ..runs.writer import RunWriter, samples_per_part
from .history import GateHistory
from .ids import distinct_texts
from .source import ModelIdentity

_NOT_A_FILE = "(arrays that the caller gave to a tracked model)"


def write_history(history: GateHistory, identity: ModelIdentity, folder: Path) -> Run:
    """Write what is in ``history`` as the finished run ``folder``, one part in memory at a time.

    ``folder`` must be new or empty. Padding clips are not rows. An id that named a batch of B samples
    becomes the samples ``id/0`` … ``id/B-1``. What belongs to which video and how long it lasts is not known
    to a tracker: each sample is its own video, ``duration`` is null. Raises
    :class:`~gatescope.runtime.errors.RunFolderError` where the folder cannot be written and
    :class:`~gatescope.runtime.errors.GatescopeError` where a gate is NaN or Inf.
    """
    with history.lock, ExitStack() as stack:
        sizes = history.sizes()
        names = distinct_texts((sample_id, len(clips)) for sample_id, _, clips in sizes)
        rows = [
            (sample_id, row, name)
            for (sample_id, *_), own in zip(sizes, names, strict=True)
            for row, name in enumerate(own)
        ]
        info = RunInfo(
            model=identity.model,
            manifest=identity.manifest,
            annotations=FileRef(_NOT_A_FILE, ""),
            features=FeatureRef((_NOT_A_FILE,), _NOT_A_FILE, None),
            selection=Selection(),
            batch_size=max(len(clips) for _, _, clips in sizes),
            device=identity.device,
            samples=len(rows),
            samples_per_part=samples_per_part(identity.manifest, 1),
            predictions=False,
            versions={**_versions(), **identity.versions},
        )
        with writing(folder):
            earlier_run(folder, stack, resume=False)
            claim_new(folder, stack)
            writer = RunWriter.begin(folder, info, _samples([clips for *_, clips in sizes], names))
            for start in range(0, len(rows), info.samples_per_part):
                part = rows[start : start + info.samples_per_part]
                writer.write_part(_gates(history, part), [], Timings())
            writer.finish()
    return open_run(folder)


def _samples(clips: list[tuple[int, ...]], names: list[list[str]]) -> pl.DataFrame:
    texts = [name for own in names for name in own]
    return pl.DataFrame(
        {
            "sample_id": texts,
            "qid": texts,
            "vid": texts,
            "clips": [count for own in clips for count in own],
            "duration": [None] * len(texts),
        },
        schema=SAMPLES_SCHEMA,
    )


def _gates(history: GateHistory, rows: list[tuple[Hashable, int, str]]) -> list[SampleGates]:
    gates: list[SampleGates] = []
    current: Hashable = None
    batch, stacked = None, {}
    for sample_id, row, name in rows:
        if batch is None or sample_id != current:
            batch, current = history.batch(sample_id), sample_id
            try:
                stacked = {kind: np.stack(layers, axis=1) for kind, layers in batch.gates.items()}
            except ValueError as error:
                raise GatescopeError(
                    f"the layers of {name} have gates of different shapes",
                    received=str({kind: [a.shape for a in own] for kind, own in batch.gates.items()}),
                    expected="the same shape in every layer, which is what a run folder can hold",
                ) from error
        gates.append(cut_sample(name, stacked, row, batch.clips[row]))
    return gates


def _versions() -> dict[str, str]:
    return {
        "gatescope": version("gatescope"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "polars": pl.__version__,
    }
