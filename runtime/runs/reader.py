"""Opens a run folder for reading; everything the analysis knows about a run comes from here."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..brief import counted, one_line
from ..errors import RunFolderError
from ..files import local
from ..gates.manifest import Manifest
from .gates import read_gates, stacked, unreadable_part
from .info import RunInfo, read_info
from .schema import (
    PREDICTIONS_FILE,
    SAMPLES_FILE,
    SAMPLES_SCHEMA,
    SUMMARY_FOLDER,
    SUMMARY_SCHEMA,
    gate_schema,
    part_path,
    stored_schema,
)
from .writer import finished_gate_parts

_NEAR = 3
# How exported models are called: given in a run's place, they can make one.
_MODELS = (".onnx", ".pt2", ".ts", ".torchscript")


def open_run(path: str | Path) -> Run:
    """Open the run folder at ``path``; nothing but its small files is read.

    An unfinished run opens with what is done. Raises :class:`~gatescope.runtime.errors.RunFolderError`
    for a folder that is not a run, is damaged or lacks parts.
    """
    folder = local(path)
    if not folder.is_dir():
        what = "is a file, not a run folder" if folder.exists() else "is not there"
        model = folder.is_file() and folder.suffix.lower() in _MODELS
        make = f"gatescope run {shlex.quote(str(folder))} --annotations FILE --features ROOT --output run/"
        raise RunFolderError(
            f"the run folder {folder} {what}",
            expected="a folder that 'gatescope run' wrote",
            fix=f"make one with this model: {make}" if model else None,
        )
    info = read_info(folder)
    parts = finished_gate_parts(folder, info)
    if info.finished and parts < info.parts:
        raise _lacks_part(folder, info, parts)
    try:
        schema = stored_schema(folder / SAMPLES_FILE)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _damaged(folder / SAMPLES_FILE, error) from error
    if lacking := [name for name in SAMPLES_SCHEMA if name not in schema]:
        raise RunFolderError(f"{folder / SAMPLES_FILE} lacks the columns {', '.join(lacking)}")
    return Run(folder, info, parts)


@dataclass(frozen=True)
class Run:
    """A run folder. ``parts``: how many parts are done, all of them in a finished run."""

    path: Path
    record: RunInfo
    parts: int

    @property
    def finished(self) -> bool:
        """Whether every sample was run."""
        return self.record.finished

    @property
    def manifest(self) -> Manifest:
        """The manifest of the model that ran."""
        return self.record.manifest

    @property
    def info(self) -> dict[str, Any]:
        """``run.json`` as plain Python objects."""
        return self.record.to_dict()

    @property
    def gates(self) -> pl.LazyFrame:
        """The gate table: sample_id, layer, gate, clip, value, for elementwise gates also values (d).

        A run of a ``--contribution`` export also has ``contribution``. Empty where the model gave no gates.
        """
        if self.parts == 0 or not self.record.gates:
            return pl.LazyFrame(schema=gate_schema(1, contribution=bool(self.manifest.contributions)))
        parts = [part_path(self.path, number) for number in range(self.parts)]
        return pl.scan_parquet(parts, glob=False)

    @property
    def summaries(self) -> pl.LazyFrame:
        """The summary table of a ``summary`` export: sample_id, layer, gate and its statistics.

        The columns are :data:`~gatescope.runtime.gates.vocabulary.SUMMARY_FIELDS`. Empty in any other run.
        """
        if self.parts == 0 or not self.record.summaries:
            return pl.LazyFrame(schema=SUMMARY_SCHEMA)
        parts = [part_path(self.path, number, SUMMARY_FOLDER) for number in range(self.parts)]
        return pl.scan_parquet(parts, glob=False)

    @property
    def samples(self) -> pl.LazyFrame:
        """sample_id, qid, vid, clips, duration (s): one row per query that is done, in the run's order.

        Where each video was computed once, ``sample_id`` is the vid and its queries are done together.
        """
        samples = pl.scan_parquet(self.path / SAMPLES_FILE, glob=False)
        if self.finished:
            return samples
        done = self.record.samples_in(self.parts)
        if not self.record.per_video:
            return samples.head(done)
        videos = planned_samples(self.path)["sample_id"].unique(maintain_order=True).head(done)
        return samples.filter(pl.col("sample_id").is_in(videos.to_list()))

    def predictions(self) -> Iterator[dict[str, Any]]:
        """The predictions, in annotation order; none for a model that makes none."""
        if not self.record.predictions or self.parts == 0:
            return
        path = self.path / PREDICTIONS_FILE
        try:
            with path.open("rb") as stream:
                for number in range(self.record.samples_in(self.parts)):
                    line = stream.readline()
                    if not line:
                        raise RunFolderError(f"{path} ends after {number} lines", fix="run again")
                    yield msgspec.json.decode(line, type=dict[str, Any])
        except (OSError, msgspec.DecodeError) as error:
            raise _damaged(path, error) from error

    def tensor(self, sample: str | int, kind: str) -> NDArray[np.float32]:
        """The gates of one sample, (layers, L | 1, 1 | d) float32, valid clips only.

        ``sample`` is a sample_id or a qid, ``kind`` one of the manifest's gates. Raises
        :class:`~gatescope.runtime.errors.RunFolderError` where there is no such sample or gate.
        """
        kinds = self.manifest.tracked_kinds
        if not self.record.gates:
            raise RunFolderError(
                f"the run {self.path} holds no gates",
                received=f"a run of a model exported with --outputs {self.manifest.outputs_kind}",
                fix="export with --outputs tracked or gates, and run again",
            )
        if kind not in kinds:
            raise RunFolderError(
                f"the run {self.path} has no '{kind}' gate",
                expected=f"one of {', '.join(kinds)}" if kinds else None,
            )
        sample_id, part = self._place(str(sample))
        rows = read_gates(self.path, part, samples=[sample_id], kind=kind)
        if rows.is_empty():
            missing = ValueError(f"it has no {kind} gates of the sample '{sample_id}'")
            raise unreadable_part(part_path(self.path, part), missing)
        return stacked(rows)

    def parts_of_samples(self) -> dict[str, int]:
        """By sample_id, the part that holds the sample's gates."""
        ids = self.samples.select("sample_id").collect()["sample_id"].unique(maintain_order=True)
        return {sample_id: place // self.record.samples_per_part for place, sample_id in enumerate(ids)}

    def _place(self, name: str) -> tuple[str, int]:
        """The sample_id behind ``name``, and the part that holds its gates."""
        sample_id = name if name in self._order else self._sample_of_qid.get(name)
        if sample_id is None:
            known = list(dict.fromkeys([*self._order, *self._sample_of_qid]))
            near = difflib.get_close_matches(name, known, _NEAR) or known[:_NEAR]
            unfinished = "" if self.finished else "; the run is not finished, it may not have been reached"
            raise RunFolderError(
                f"the run {self.path} has no sample '{name}'{unfinished}",
                expected=f"a sample_id or qid, such as {', '.join(near)}" if near else None,
            )
        return sample_id, self._order[sample_id] // self.record.samples_per_part

    @cached_property
    def _index(self) -> pl.DataFrame:
        try:
            return self.samples.select("sample_id", "qid").collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise _damaged(self.path / SAMPLES_FILE, error) from error

    @cached_property
    def _order(self) -> dict[str, int]:
        """Each sample_id and its place among the samples that were computed."""
        distinct = dict.fromkeys(self._index["sample_id"].to_list())
        return {sample_id: place for place, sample_id in enumerate(distinct)}

    @cached_property
    def _sample_of_qid(self) -> dict[str, str]:
        return dict(zip(self._index["qid"].to_list(), self._index["sample_id"].to_list(), strict=True))

    def __repr__(self) -> str:
        there, planned = self.record.samples_in(self.parts), self.record.samples
        manifest = self.manifest
        state = "finished" if self.finished else f"unfinished, {there:,} of {planned:,} done"
        layers = counted(manifest.layers, "layer")
        return one_line(self, str(self.path), self._in_words, manifest.gating, layers, state)

    @cached_property
    def _in_words(self) -> str:
        """How many queries of how many videos there are; empty where the table of samples is gone."""
        try:
            counts = self.samples.select(pl.len(), pl.col("vid").n_unique().alias("videos")).collect()
        except (OSError, pl.exceptions.PolarsError, RunFolderError):
            return ""
        queries, videos = counts.row(0)
        return f"{counted(queries, 'query')} of {counted(videos, 'video')}"


def planned_samples(folder: Path) -> pl.DataFrame:
    """Every row of ``samples.parquet``, of samples that are still to be run too."""
    try:
        return pl.read_parquet(folder / SAMPLES_FILE, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _damaged(folder / SAMPLES_FILE, error) from error


def _lacks_part(folder: Path, info: RunInfo, parts: int) -> RunFolderError:
    stored = info.gates or info.summaries
    lacking = part_path(folder, parts).name if stored else f"lines of {PREDICTIONS_FILE}"
    return RunFolderError(
        f"the run {folder} lacks {lacking}, or it is damaged",
        expected=f"{info.parts} parts" if stored else f"{info.samples} lines",
        fix="run again into another folder",
    )


def _damaged(path: Path, error: Exception) -> RunFolderError:
    return RunFolderError(
        f"{path} is missing or damaged",
        received=(str(error) or type(error).__name__).splitlines()[0],
        fix="run again into another folder",
    )
