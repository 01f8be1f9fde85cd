"""A gate table without a run folder: its rows become a run in a temporary folder.

No model is there to ask what a manifest declares. Unless the caller knows better the gating is read off the
shape of the values, and gates are taken to reach from −1 to 1, or as far as they do. A report says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..runtime.data.dataset import Selection
from ..runtime.errors import InputError
from ..runtime.forks import remove_with
from ..runtime.gates.gatings import GATINGS, PLAIN_GATINGS, GatingForm
from ..runtime.gates.manifest import Manifest
from ..runtime.gates.preprocessing import Preprocessing
from ..runtime.gates.shape import (
    GateShape,
    LayerGate,
    Range,
    SeenGates,
    gating_name,
    rows_of,
)
from ..runtime.runs.folder import claim_new
from ..runtime.runs.info import FeatureRef, FileRef, RunInfo, Timings
from ..runtime.runs.reader import Run, open_run
from ..runtime.runs.schema import SAMPLES_SCHEMA, gate_schema
from ..runtime.runs.writer import RunWriter, samples_per_part
from ..runtime.tracking.recorded import RunHistory

_UNKNOWN = "(a gate table that the caller gave)"
_KEYS = ("sample_id", "layer", "gate", "clip")
# Rows that are read and written at a time: 4 MB of an elementwise gate with 256 channels.
_ROWS = 4096


class FrameGates:
    """A gate table with a tracker's ``gate_history`` and :meth:`as_run`.

    ``frame`` has the columns of contract 2 (``sample_id, layer, gate, clip, value``, for elementwise gates
    also ``values``, and ``contribution`` where it is known), its rows in any order, and may have ``qid`` and
    ``vid``, which are otherwise the sample_id. It is computed once, streamed to disk; the run lives as long
    as this.

    - ``ranges``: smallest and largest value of each kind of gate. ``gating``: ``global``, ``clipwise`` or
      ``elementwise``.

    Raises :class:`~gatescope.runtime.errors.InputError` for a table that is empty, lacks a column, has one of
    the wrong type, or names one gate of one clip twice.
    """

    def __init__(
        self, frame: pl.LazyFrame, *, ranges: Mapping[str, Range] | None = None, gating: str | None = None
    ) -> None:
        folder = Path(tempfile.mkdtemp(prefix="gatescope-run-"))
        remove_with(self, folder)
        self._run = _write_run(frame, folder, dict(ranges or {}), gating)
        self.gate_history = RunHistory(self._run)

    def as_run(self) -> Run:
        """The run that holds the table."""
        return self._run


def _write_run(frame: pl.LazyFrame, folder: Path, ranges: Mapping[str, Range], gating: str | None) -> Run:
    table = folder / "table.parquet"
    try:
        stored = _stored(_checked(frame), table)
        samples = _samples(stored)
        kinds = _kinds(stored, ranges)
    except pl.exceptions.PolarsError as error:
        raise InputError(
            "the gate table cannot be read",
            received=(str(error) or type(error).__name__).splitlines()[0],
            expected="sample_id text, layer 0–255, gate text, clip 0–65535, value numbers; values arrays",
        ) from error
    manifest = _manifest(kinds, ranges, gating, int(samples["clips"].max()))  # type: ignore[arg-type]
    info = RunInfo(
        model=FileRef(_UNKNOWN, ""),
        manifest=manifest,
        annotations=FileRef(_UNKNOWN, ""),
        features=FeatureRef((_UNKNOWN,), _UNKNOWN, None),
        selection=Selection(),
        batch_size=1,
        device="unknown",
        samples=samples.height,
        samples_per_part=samples_per_part(manifest, 1),
        predictions=False,
        versions={"gatescope": version("gatescope"), "polars": pl.__version__},
    )
    run = folder / "run"
    with ExitStack() as stack:
        claim_new(run, stack)
        writer = RunWriter.begin(run, info, samples.drop("rows"))
        columns = [name for name in stored.collect_schema() if name not in ("qid", "vid")]
        ends = np.cumsum(samples["rows"].to_numpy())
        starts = [0, *ends.tolist()]
        for first in range(0, samples.height, info.samples_per_part):
            start, end = starts[first], starts[min(first + info.samples_per_part, samples.height)]
            rows = stored.slice(start, end - start).select(columns).collect()
            writer.write_rows(_distinct(rows.sort(pl.col("sample_id").rle_id(), *_KEYS[1:])), Timings())
        writer.finish()
    table.unlink()
    return open_run(run)


def _checked(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The table with the contract's columns and types, and nothing else."""
    schema = frame.collect_schema()
    wanted = gate_schema(1, contribution="contribution" in schema)
    lacking = [name for name in wanted if name not in schema]
    if lacking:
        raise InputError(
            f"the gate table lacks {', '.join(lacking)}",
            received=f"the columns {', '.join(schema) or '(none)'}",
            expected="sample_id, layer, gate, clip, value; for elementwise gates also values",
        )
    columns = [pl.col(name).cast(kind) for name, kind in wanted.items()]
    if "values" in schema:
        columns.append(pl.col("values").cast(pl.Array(pl.Float32, _channels(frame, schema["values"]))))
    columns += [pl.col(name).cast(pl.String) for name in ("qid", "vid") if name in schema]
    return frame.select(columns)


def _channels(frame: pl.LazyFrame, kind: Any) -> int:
    if isinstance(kind, pl.Array):
        return kind.size
    if not isinstance(kind, pl.List):
        raise InputError(
            "values is not a column of arrays", received=str(kind), expected="arrays of one width"
        )
    widths = frame.select(pl.col("values").drop_nulls().list.len().unique()).collect()["values"].to_list()
    if len(widths) != 1:
        raise InputError("values has arrays of several widths", received=str(sorted(widths)[:5]))
    return widths[0]


def _stored(frame: pl.LazyFrame, path: Path) -> pl.LazyFrame:
    """``frame`` computed once into the file ``path``, the rows of each sample together."""
    frame.sink_parquet(path, compression="lz4", row_group_size=_ROWS)
    stored = pl.scan_parquet(path, glob=False)
    ids = stored.select(run=pl.col("sample_id").rle_id(), id=pl.col("sample_id")).collect()
    if not ids.is_empty() and ids["run"][-1] + 1 > ids["id"].n_unique():
        ordered = path.with_name("ordered.parquet")
        stored.sort("sample_id", maintain_order=True).sink_parquet(ordered, row_group_size=_ROWS)
        ordered.replace(path)
    return pl.scan_parquet(path, glob=False)


def _samples(stored: pl.LazyFrame) -> pl.DataFrame:
    names = {name: name if name in stored.collect_schema() else "sample_id" for name in ("qid", "vid")}
    found = (
        stored.group_by("sample_id", maintain_order=True)
        .agg(
            qid=pl.col(names["qid"]).first(),
            vid=pl.col(names["vid"]).first(),
            clips=pl.col("clip").max().cast(pl.UInt32) + 1,
            rows=pl.len(),
            unnamed=pl.any_horizontal(pl.col(key).is_null().any() for key in _KEYS),
        )
        .with_columns(duration=pl.lit(None, pl.Float64))
        .collect()
    )
    if found.is_empty():
        raise InputError("the gate table has no rows", expected="at least one gate of one clip")
    if found["unnamed"].any() or found["sample_id"].has_nulls():
        raise InputError("the gate table has rows that do not say what they are of", expected="no null keys")
    named = found.with_columns(pl.col("qid", "vid").fill_null(pl.col("sample_id")))
    return named.select(*(pl.col(name).cast(kind) for name, kind in SAMPLES_SCHEMA.items()), "rows")


def _kinds(stored: pl.LazyFrame, ranges: Mapping[str, Range]) -> dict[str, GateShape]:
    schema = stored.collect_schema()
    wide = "values" in schema
    # Channels become their extremes first: what is grouped then is narrow.
    values = pl.col("values")
    narrow = stored.select(
        "gate",
        "layer",
        "clip",
        channels=values.is_not_null() if wide else pl.lit(False),
        low=pl.min_horizontal("value", values.arr.min()) if wide else pl.col("value"),
        high=pl.max_horizontal("value", values.arr.max()) if wide else pl.col("value"),
    )
    finite = {name: pl.col(name).filter(pl.col(name).is_finite()) for name in ("low", "high")}
    found = (
        narrow.group_by("gate", maintain_order=True)
        .agg(
            layers=pl.col("layer").unique().sort(),
            per_clip=pl.col("clip").max() > 0,
            channels=pl.col("channels").any(),
            low=finite["low"].min(),
            high=finite["high"].max(),
        )
        .collect(engine="streaming")
    )
    unknown = set(ranges) - set(found["gate"].to_list())
    if unknown:
        raise InputError(
            f"ranges are given for gates that are not there: {', '.join(sorted(unknown))}",
            expected=f"only {', '.join(found['gate'].to_list())}",
        )
    channels = schema["values"].size if wide else 1  # type: ignore[attr-defined]
    shapes: dict[str, GateShape] = {}
    for row in found.iter_rows(named=True):
        seen = SeenGates(row["gate"])
        if row["low"] is not None:
            seen.lowest, seen.highest = row["low"], row["high"]
        range_ = ranges.get(row["gate"]) or seen.assumed_range
        layers = tuple(LayerGate(layer, range_) for layer in row["layers"])
        wide = channels if row["channels"] else 1
        shapes[row["gate"]] = GateShape(row["gate"], row["per_clip"], wide, layers)
    return shapes


def _manifest(
    kinds: Mapping[str, GateShape], declared: Collection[str], gating: str | None, longest: int
) -> Manifest:
    """What the table says; ``declared``: kinds whose range the caller knows."""
    forms: dict[str, GatingForm] = {name: GATINGS[name] for name in PLAIN_GATINGS}
    if gating is not None and gating not in forms:
        raise InputError(f"there is no gating '{gating}'", expected=f"one of {', '.join(forms)}")
    over_clips = gating is not None and forms[gating].per_clip
    shapes = [replace(shape, per_clip=shape.per_clip or over_clips) for shape in kinds.values()]
    notes = [
        f"Nothing says the range of the {shape.kind} gate: {shape.range[0]:.4g} to {shape.range[1]:.4g} is "
        "assumed. What counts as saturated, and the entropy, are relative to it."
        for shape in shapes
        if shape.kind not in declared
    ]
    recipe = Preprocessing.unknown(_UNKNOWN, longest)
    return Manifest(
        family=_UNKNOWN,
        gating=gating or gating_name(kinds.values()),
        gates=rows_of(shapes),
        inputs=(),
        outputs=tuple(shape.tensor() for shape in shapes),
        preprocessing=recipe,
        facts={},
        checkpoint_sha256="",
        versions={"gatescope": version("gatescope")},
        opset=None,
        precision="float32",
        batching="reference",
        outputs_kind="tracked",
        # Nobody knows, so the gates of a video are not taken for those of all its queries.
        depends_on_text=True,
        format="live",
        warnings=tuple(notes),
    )


def _distinct(rows: pl.DataFrame) -> pl.DataFrame:
    twice = rows.select(_KEYS).is_duplicated()
    if twice.any():
        first = rows.filter(twice).row(0, named=True)
        raise InputError(
            "the gate table names a gate of a clip twice",
            received=", ".join(f"{key} {first[key]}" for key in _KEYS),
        )
    return rows
