"""How far the gates of two runs lie apart, part by part: never more than one part of each is in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...runtime.errors import RunFolderError
from ...runtime.runs.reader import Run
from ...runtime.runs.schema import part_path

_KEYS = ["sample_id", "layer", "gate", "clip"]


@dataclass(frozen=True)
class GateDifference:
    """One gate of one layer in two runs, over the samples that both have.

    - ``values``: how many were compared. ``largest``, ``mean``: of their absolute differences; where a value
      is finite in one run only, ``largest`` is infinite, and ``mean`` leaves it out.
    - ``sample_id``, ``clip``: where the largest one is. ``unlike``: values that are finite in one run only,
      or not finite in two ways. ``unpaired``: clips that only one run has.
    """

    layer: int
    kind: str
    values: int
    largest: float
    mean: float
    sample_id: str
    clip: int
    unlike: int
    unpaired: int


class _Tally:
    """The differences of one gate, growing."""

    def __init__(self) -> None:
        self.values = self.unlike = self.unpaired = 0
        self.total, self.largest = 0.0, -1.0
        self.place: tuple[str, int] = ("", 0)

    def difference(self, layer: int, kind: str) -> GateDifference:
        finite = self.values - self.unlike
        mean = self.total / finite if finite else math.nan
        largest = self.largest if self.values else math.nan
        return GateDifference(
            layer, kind, self.values, largest, mean, *self.place, self.unlike, self.unpaired
        )


def gate_differences(one: Run, other: Run, *, advance: Callable[[int], object]) -> list[GateDifference]:
    """Every layer and kind of gate that both runs have, kinds in ``one``'s order.

    Runs may hold their samples in another order or in parts of another size. ``advance`` is told how many
    more samples of ``one`` are through. Raises :class:`~gatescope.runtime.errors.RunFolderError` for a part
    that cannot be read.
    """
    tallies: dict[tuple[int, str], _Tally] = {}
    places = _parts_of_samples(other)
    for number in range(one.parts):
        left = _read(part_path(one.path, number))
        ids = left["sample_id"].unique(maintain_order=True)
        both = ids.filter(ids.is_in(list(places)))
        parts = sorted({places[sample_id] for sample_id in both})
        tables = [_read(part_path(other.path, part), both) for part in parts]
        if tables:
            _compare(left.filter(pl.col("sample_id").is_in(both.implode())), pl.concat(tables), tallies)
        advance(len(ids))
    kinds = {kind: place for place, kind in enumerate(one.manifest.gate_kinds)}
    order = sorted(tallies, key=lambda key: (kinds.get(key[1], len(kinds)), key[0]))
    return [tallies[key].difference(*key) for key in order]


def _parts_of_samples(run: Run) -> dict[str, int]:
    """In which part every sample's gates lie."""
    ids = run.samples.select("sample_id").collect()["sample_id"].unique(maintain_order=True)
    return {sample_id: place // run.record.samples_per_part for place, sample_id in enumerate(ids)}


def _read(path: Path, samples: pl.Series | None = None) -> pl.DataFrame:
    try:
        lazy = pl.scan_parquet(path, glob=False)
        wide = "values" in lazy.collect_schema()
        rows = lazy if samples is None else lazy.filter(pl.col("sample_id").is_in(samples.implode()))
        return rows.select(*_KEYS, "value", *(["values"] if wide else [])).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunFolderError(
            f"{path} cannot be read",
            received=str(error).splitlines()[0] if str(error) else type(error).__name__,
            expected="a part of a run's gate table",
            fix="run the model again into a fresh folder",
        ) from error


def _compare(left: pl.DataFrame, right: pl.DataFrame, tallies: dict[tuple[int, str], _Tally]) -> None:
    left, right = _paired(left, right, tallies)
    gap, unlike = _gaps(left, right)
    width = gap.shape[1]
    rows = left.select(_KEYS).with_columns(
        largest=pl.Series(np.where(unlike.any(axis=1), np.inf, gap.max(axis=1, initial=0.0))),
        total=pl.Series(gap.sum(axis=1)),
        unlike=pl.Series(unlike.sum(axis=1)),
    )
    worst = pl.col("largest").arg_max()
    for row in (
        rows.group_by("layer", "gate", maintain_order=True)
        .agg(
            pl.len().alias("rows"),
            pl.col("total", "unlike").sum(),
            pl.col("largest").max(),
            sample_id=pl.col("sample_id").get(worst),
            clip=pl.col("clip").get(worst),
        )
        .iter_rows(named=True)
    ):
        tally = tallies.setdefault((row["layer"], row["gate"]), _Tally())
        tally.values += row["rows"] * width
        tally.total += row["total"]
        tally.unlike += row["unlike"]
        if row["largest"] > tally.largest:
            tally.largest, tally.place = row["largest"], (row["sample_id"], row["clip"])


def _paired(
    left: pl.DataFrame, right: pl.DataFrame, tallies: dict[tuple[int, str], _Tally]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that both tables have, in one order; gates and clips of only one are counted."""
    if left.height == right.height and left.select(_KEYS).equals(right.select(_KEYS)):
        return left, right
    rows = left.select(_KEYS).with_row_index("left")
    pairs = rows.join(right.select(_KEYS).with_row_index("right"), on=_KEYS, how="full", coalesce=True)
    lacking = pl.col("left").is_null() | pl.col("right").is_null()
    gates = set(left.select("layer", "gate").iter_rows()) & set(right.select("layer", "gate").iter_rows())
    for layer, kind, count in pairs.filter(lacking).group_by("layer", "gate").len().iter_rows():
        if (layer, kind) in gates:
            tallies.setdefault((layer, kind), _Tally()).unpaired += count
    known = pairs.filter(~lacking).sort("left")
    return left[known["left"]], right[known["right"]]


def _gaps(left: pl.DataFrame, right: pl.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Absolute differences (rows, channels), 0 where none can be taken, and which values are unlike."""
    one, other = _values(left), _values(right)
    with np.errstate(invalid="ignore"):
        gap = np.abs(one.astype(np.float64) - other)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    unlike = ~np.isfinite(gap) & ~same
    return np.where(same | unlike, 0.0, gap), unlike


def _values(table: pl.DataFrame) -> NDArray[np.float32]:
    name = "values" if "values" in table.columns and table["values"].null_count() == 0 else "value"
    values = table[name].to_numpy()
    return values.reshape(len(table), -1)


def channels_of(runs: Sequence[Run]) -> list[int]:
    """How many channels the gates of each run have, 1 where they have one value a clip."""
    found: list[int] = []
    for run in runs:
        schema = run.gates.collect_schema()
        kind = schema.get("values")
        found.append(kind.shape[0] if isinstance(kind, pl.Array) else 1)
    return found
