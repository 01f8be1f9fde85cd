"""Names and column types of a run folder.

run/
  run.json                 what ran, see :class:`gatescope.runtime.runs.info.RunInfo`
  samples.parquet          one row per query, in the order of the run
  predictions.jsonl        the benchmark's submission format, in annotation order
  gates/part-00000.parquet …   one row per sample, layer, gate and valid clip, in this order
  summary/part-00000.parquet … only of a summary export: one row per sample, layer and gate

What the model did not give is not there: a plain export leaves no gates, a gates export no predictions.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ..gates.vocabulary import SUMMARY_FIELDS

RUN_FILE = "run.json"
SAMPLES_FILE = "samples.parquet"
PREDICTIONS_FILE = "predictions.jsonl"
GATES_FOLDER = "gates"
SUMMARY_FOLDER = "summary"
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


def gate_schema(channels: int, *, contribution: bool = False) -> pl.Schema:
    """Columns of the gate table; with ``channels`` > 1 (elementwise gates) also ``values``.

    With ``contribution``, how far the gated branch moves the stream at that clip, ‖m·u‖ / ‖v‖. A global gate
    has one row, and its contribution is the mean over the sample's clips: one gate moves each of them by
    another amount.
    """
    columns: dict[str, pl.DataType | type[pl.DataType]] = {
        "sample_id": pl.String,
        "layer": pl.UInt8,
        "gate": pl.String,
        "clip": pl.UInt16,
        "value": pl.Float32,
    }
    if channels > 1:
        columns["values"] = pl.Array(pl.Float32, channels)
    if contribution:
        columns["contribution"] = pl.Float32
    return pl.Schema(columns)


_COUNTED = ("count", "rail", "bin")
SUMMARY_SCHEMA = pl.Schema(
    {
        "sample_id": pl.String,
        "layer": pl.UInt8,
        "gate": pl.String,
        **{name: pl.UInt32 if name.split("_")[0] in _COUNTED else pl.Float32 for name in SUMMARY_FIELDS},
    }
)


def part_path(folder: Path, number: int, table: str = GATES_FOLDER) -> Path:
    """Where part ``number`` (from 0) of a table lies in the run ``folder``."""
    return folder / table / f"part-{number:05}.parquet"


def part_paths(folder: Path, table: str = GATES_FOLDER) -> list[Path]:
    """Every part of a table that is there, in order."""
    return sorted((folder / table).glob("part-*.parquet"))


def stored_schema(path: Path) -> pl.Schema:
    """Columns of a Parquet file, from its footer alone. Raises ``OSError`` or ``PolarsError``."""
    # Given a path, Polars would read patterns into a folder's name.
    with path.open("rb") as stream:
        return pl.Schema(pl.read_parquet_schema(stream))
