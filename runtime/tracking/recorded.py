"""A run folder's gates under the keys of a tracker's history, for scripts that read ``gate_history``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import polars as pl

from ..runs.gates import read_gates, stacked
from ..runs.reader import Run
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
        clips, rows = self._clips[sample_id], self._part[1][sample_id]
        manifest = self._run.manifest
        return TrackedBatch(
            gates={
                kind: tuple(stacked(rows.filter(pl.col("gate") == kind))[:, None])
                for kind in manifest.tracked_kinds
            },
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
        table = read_gates(self._run.path, number)
        return {str(key[0]): rows for key, rows in table.partition_by("sample_id", as_dict=True).items()}
