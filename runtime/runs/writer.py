"""Writes a run folder part by part, so that stopping at any moment loses at most one part's work.

A part counts from the moment its file has been renamed into place. Its predictions are appended and made
durable before that; on resuming, predictions beyond the parts that count are cut off again. Where
predictions are all there is, a part counts from the moment its last line is whole. Parts hold a fixed number
of samples, so an interrupted run and an undisturbed one write the same files.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from ..errors import RunFolderError
from ..gates.manifest import Manifest
from .atomic import append_durably, leftovers, write_atomically
from .info import RunInfo, Timings
from .schema import (
    GATES_FOLDER,
    PREDICTIONS_FILE,
    RUN_FILE,
    SAMPLES_FILE,
    SUMMARY_FOLDER,
    part_path,
    part_paths,
    stored_schema,
)
from .summary_table import SampleSummary, summary_table
from .table import SampleGates, gate_table

# A part is held in memory while it grows: enough samples for Parquet to compress well, few enough that
# memory stays flat and that little is lost with it.
_PART_BYTES = 32 * 2**20
MOST_SAMPLES_PER_PART = 256
# One row without its channels: id, layer, gate, clip and value as Polars holds them.
_ROW_BYTES = 32


def samples_per_part(manifest: Manifest, batch_size: int) -> int:
    """How many samples a part holds: a multiple of the batch size, so that parts end between batches."""
    row_bytes = 0
    shapes = manifest.shapes
    for kind in manifest.tracked_kinds:
        _, layers, clips, channels = shapes[kind].size_in(1, manifest.preprocessing.max_v_l)
        row_bytes += layers * clips * (_ROW_BYTES + (4 * channels if channels > 1 else 0))
    fitting = min(MOST_SAMPLES_PER_PART, _PART_BYTES // max(row_bytes, 1))
    return max(fitting // batch_size, 1) * batch_size


class RunWriter:
    """A run being written, by a caller that holds the folder's lock (``lock_run``).

    Make one with :meth:`begin` or :meth:`resume`; then give :meth:`write_part` the parts from ``next_part``
    on, each with ``info.samples_per_part`` samples, and end with :meth:`finish`.
    """

    def __init__(self, folder: Path, info: RunInfo, next_part: int) -> None:
        self.folder = folder
        self.info = info
        self.next_part = next_part

    @classmethod
    def begin(cls, folder: Path, info: RunInfo, samples: pl.DataFrame) -> RunWriter:
        """Start a new run in an empty folder; ``samples`` is the whole of ``samples.parquet``."""
        _clean(folder, keep_parts=0)
        for table in _tables(info):
            (folder / table).mkdir(exist_ok=True)
        # samples.parquet first: wherever there is a run.json, the samples it speaks of are listed.
        write_atomically(folder / SAMPLES_FILE, _parquet(samples))
        writer = cls(folder, info, 0)
        writer._write_info()
        return writer

    @classmethod
    def resume(cls, folder: Path, info: RunInfo) -> RunWriter:
        """Go on with the unfinished run that ``info`` was read from, at its first missing part.

        Raises :class:`~gatescope.runtime.errors.RunFolderError` where finished parts lack predictions.
        """
        done = finished_gate_parts(folder, info)
        if info.predictions:
            _cut_predictions(folder / PREDICTIONS_FILE, info.samples_in(done))
        _clean(folder, keep_parts=done)
        for table in _tables(info):
            (folder / table).mkdir(exist_ok=True)
        return cls(folder, info, done)

    def write_part(
        self,
        samples: Sequence[SampleGates],
        predictions: Sequence[str],
        timings: Timings,
        *,
        summaries: Sequence[SampleSummary] = (),
    ) -> None:
        """Write the next part: gates, statistics and prediction lines of its samples, whichever the run has.

        ``timings`` are those of the run so far.
        """
        if self.info.predictions:
            append_durably(self.folder / PREDICTIONS_FILE, "".join(predictions).encode())
        if self.info.summaries:
            path = part_path(self.folder, self.next_part, SUMMARY_FOLDER)
            write_atomically(path, _parquet(summary_table(summaries)))
        if self.info.gates:
            self.write_rows(gate_table(samples), timings)
        else:
            self._next(timings)

    def write_rows(self, rows: pl.DataFrame, timings: Timings) -> None:
        """Write the next part of a run that has nothing but gates, from rows of the gate table."""
        write_atomically(part_path(self.folder, self.next_part), _parquet(rows))
        self._next(timings)

    def finish(self, timings: Timings | None = None) -> RunInfo:
        """Mark the run as finished; every part must have been written. ``timings`` are those of all of it."""
        if self.next_part != self.info.parts:
            raise RunFolderError(f"part {self.next_part} of {self.info.parts} was not written")
        self.info = replace(self.info, finished=True, timings=timings or self.info.timings)
        self._write_info()
        return self.info

    def _next(self, timings: Timings) -> None:
        self.next_part += 1
        self.info = replace(self.info, timings=timings)
        self._write_info()

    def _write_info(self) -> None:
        write_atomically(self.folder / RUN_FILE, self.info.to_json())


def finished_gate_parts(folder: Path, info: RunInfo) -> int:
    """How many parts are there without a gap from the first on, and readable."""
    tables = _tables(info)
    if not tables:
        lines = _whole_lines(folder / PREDICTIONS_FILE)
        return info.parts if lines >= info.samples else lines // info.samples_per_part
    for number in range(info.parts):
        try:
            for table in tables:
                stored_schema(part_path(folder, number, table))
        except (OSError, pl.exceptions.PolarsError):
            return number
    return info.parts


def _tables(info: RunInfo) -> list[str]:
    """The folders that hold parts of this run."""
    return [*([GATES_FOLDER] if info.gates else []), *([SUMMARY_FOLDER] if info.summaries else [])]


def _whole_lines(path: Path) -> int:
    try:
        with path.open("rb") as stream:
            return sum(piece.count(b"\n") for piece in iter(lambda: stream.read(2**20), b""))
    except FileNotFoundError:
        return 0


def _parquet(frame: pl.DataFrame) -> bytes:
    # Through memory, so that one place writes files and a full disk is an ordinary OSError.
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def _clean(folder: Path, keep_parts: int) -> None:
    for path in leftovers(folder):
        path.unlink()
    for table in (GATES_FOLDER, SUMMARY_FOLDER):
        for path in [*leftovers(folder / table), *part_paths(folder, table)[keep_parts:]]:
            path.unlink()


def _cut_predictions(path: Path, lines: int) -> None:
    """Keep the first ``lines`` lines: the rest is a torn line, or belongs to a part that never counted."""
    if not path.exists() and lines == 0:
        return
    end = 0
    try:
        with path.open("r+b") as stream:
            for _ in range(lines):
                line = stream.readline()
                if not line.endswith(b"\n"):
                    raise _lost_predictions(path, lines)
                end += len(line)
            stream.truncate(end)
    except FileNotFoundError as error:
        raise _lost_predictions(path, lines) from error


def _lost_predictions(path: Path, lines: int) -> RunFolderError:
    return RunFolderError(
        f"{path} has fewer lines than the finished parts have samples",
        expected=f"at least {lines} lines",
        fix="the folder was changed by hand; run again into another one",
    )
