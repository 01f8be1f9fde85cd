"""Predictions of every intervention on disk, part by part: a part is whole or not there."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from ....runtime.data.annotations import Annotation
from ....runtime.errors import RunFolderError
from ....runtime.runs.atomic import write_atomically
from ....runtime.runs.predictions import Prediction
from .plan import PARTS_FOLDER

# Windows are kept as they are written to a submission, saliency has passed through float16: both are exact.
_SCHEMA = pl.Schema(
    {
        "intervention": pl.String,
        "query": pl.UInt32,
        "windows": pl.List(pl.List(pl.Float64)),
        "saliency": pl.List(pl.Float32),
    }
)


def query_part_path(folder: Path, number: int) -> Path:
    """Where part ``number`` (from 0) lies."""
    return folder / PARTS_FOLDER / f"part-{number:05}.parquet"


def finished_query_parts(folder: Path, total: int) -> int:
    """How many parts are there without a gap, of ``total``."""
    return next((number for number in range(total) if not query_part_path(folder, number).is_file()), total)


def write_part(
    folder: Path, number: int, first: int, predictions: Mapping[str, Sequence[Prediction]]
) -> None:
    """Write a part: by intervention, the predictions of as many queries, from the ``first`` query on."""
    rows = [
        (name, first + place, row["pred_relevant_windows"], row["pred_saliency_scores"])
        for name, own in predictions.items()
        for place, row in enumerate(own)
    ]
    table = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    content = io.BytesIO()
    # One intervention a row group: reading one of them skips the others.
    table.write_parquet(content, row_group_size=max(len(rows) // len(predictions), 1))
    path = query_part_path(folder, number)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, content.getvalue())


def predictions_of(
    folder: Path, parts: int, intervention: str, queries: Sequence[Annotation]
) -> Iterator[dict[str, Any]]:
    """One intervention's predictions in the benchmark's submission format, part by part.

    Raises :class:`~gatescope.runtime.errors.RunFolderError` for a part that is damaged.
    """
    for number in range(parts):
        path = query_part_path(folder, number)
        try:
            chosen = pl.col("intervention") == intervention
            rows = pl.scan_parquet(path, glob=False).filter(chosen).sort("query").collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise RunFolderError(
                f"{path} is missing or damaged",
                received=str(error).splitlines()[0] if str(error) else type(error).__name__,
                fix="delete it and run the same command with --resume",
            ) from error
        for _, place, windows, saliency in rows.iter_rows():
            query = queries[place]
            yield {
                "qid": query.json_qid,
                "query": query.query,
                "vid": query.vid,
                "pred_relevant_windows": windows,
                "pred_saliency_scores": saliency,
            }
