"""Names and column types of a run folder.

run/
  run.json                 what ran, see :class:`gatescope.runtime.runs.info.RunInfo`
  samples.parquet          one row per query, in the order of the run
  predictions.jsonl        the benchmark's submission format, in annotation order
  gates/part-00000.parquet …   one row per sample, layer, gate and valid clip, in this order
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

RUN_FILE = "run.json"
SAMPLES_FILE = "samples.parquet"
PREDICTIONS_FILE = "predictions.jsonl"
GATES_FOLDER = "gates"
LOCK_FILE = ".lock"
HOLDER_FILE = ".holder.json"

# Clip indices are stored in 16 bits.
MOST_CLIPS = 2**16

SAMPLES_SCHEMA = pl.Schema(
    {
        "sample_id": pl.String,
        "qid": pl.String,
        "vid": pl.String,
        "clips": pl.UInt32,
        "duration": pl.Float64,
    }
)


def gate_schema(channels: int) -> pl.Schema:
    """Columns of the gate table; with ``channels`` > 1 (elementwise gates) also ``values``."""
    columns: dict[str, pl.DataType | type[pl.DataType]] = {
        "sample_id": pl.String,
        "layer": pl.UInt8,
        "gate": pl.String,
        "clip": pl.UInt16,
        "value": pl.Float32,
    }
    if channels > 1:
        columns["values"] = pl.Array(pl.Float32, channels)
    return pl.Schema(columns)


def part_path(folder: Path, number: int) -> Path:
    """Where part ``number`` (from 0) of the gate table lies in the run ``folder``."""
    return folder / GATES_FOLDER / f"part-{number:05}.parquet"


def part_paths(folder: Path) -> list[Path]:
    """Every part of the gate table that is there, in order."""
    return sorted((folder / GATES_FOLDER).glob("part-*.parquet"))


def stored_schema(path: Path) -> pl.Schema:
    """Columns of a Parquet file, from its footer alone. Raises ``OSError`` or ``PolarsError``."""
    # Given a path, Polars would read patterns into a folder's name.
    with path.open("rb") as stream:
        return pl.Schema(pl.read_parquet_schema(stream))
