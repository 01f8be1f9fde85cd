"""A run folder's gates under the keys of a tracker's history, for scripts that read ``gate_history``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import RunFolderError
from ..runs.reader import Run
from ..runs.schema import part_path
from .batch import TrackedBatch


class RecordedGates:
    """A run folder with a tracker's ``gate_history`` and :meth:`as_run`."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @cached_property
    def gate_history(self) -> RunHistory:
        """The gates by sample id."""
        return RunHistory(self._run)

    def as_run(self) -> Run:
        """The run itself."""
        return self._run


class RunHistory(Mapping[str, dict[str, Any]]):
    """``history[sample_id]`` as a tracker has it, each sample a batch of one without padding.

    Arrays are float32 (1, L | 1, 1 | d). The part of the gate table that was read last stays in memory, so
    that going through all samples reads each part once.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        samples = run.samples.select("sample_id", "clips").unique("sample_id", maintain_order=True).collect()
        self._clips: dict[str, int] = dict(samples.iter_rows())
        self._place = {sample_id: place for place, sample_id in enumerate(self._clips)}
        self._part: tuple[int, dict[str, pl.DataFrame]] = (-1, {})

    def __getitem__(self, sample_id: str) -> dict[str, Any]:
        number = self._place[sample_id] // self._run.record.samples_per_part
        if self._part[0] != number:
            self._part = number, self._read(number)
        clips = self._clips[sample_id]
        manifest = self._run.manifest
        return TrackedBatch(
            gates=_layers(self._part[1][sample_id], manifest.tracked_kinds),
            clips=(clips,),
            length=clips,
            gating=manifest.gating,
            hidden_dim=manifest.hidden_dim,
        ).entry()

    def __iter__(self) -> Iterator[str]:
        return iter(self._clips)

    def __len__(self) -> int:
        return len(self._clips)

    def _read(self, number: int) -> dict[str, pl.DataFrame]:
        path = part_path(self._run.path, number)
        try:
            table = pl.read_parquet(path, glob=False).sort("layer", "clip")
        except (OSError, pl.exceptions.PolarsError) as error:
            raise RunFolderError(
                f"{path} cannot be read",
                received=(str(error) or type(error).__name__).splitlines()[0],
                fix="run the model again into a fresh folder",
            ) from error
        return {str(key[0]): rows for key, rows in table.partition_by("sample_id", as_dict=True).items()}


def _layers(rows: pl.DataFrame, kinds: tuple[str, ...]) -> dict[str, tuple[NDArray[np.float32], ...]]:
    gates: dict[str, tuple[NDArray[np.float32], ...]] = {}
    for kind in kinds:
        own = rows.filter(pl.col("gate") == kind)
        wide = "values" in own.columns and own["values"].null_count() == 0
        values: NDArray[np.float32] = own["values" if wide else "value"].to_numpy()
        layers = own["layer"].n_unique()
        # Copies: what polars lends is read-only, and a tracker's arrays are not.
        stacked = np.array(values, np.float32).reshape(layers, 1, len(own) // max(layers, 1), -1)
        gates[kind] = tuple(stacked)
    return gates
