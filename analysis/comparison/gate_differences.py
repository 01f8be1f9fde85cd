"""How far the gates of two runs lie apart, part by part: never more than one part of each is in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...runtime.runs.gates import ROW_KEYS, read_gates, values_of
from ...runtime.runs.reader import Run


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
    places = other.parts_of_samples()
    for number in range(one.parts):
        left = read_gates(one.path, number)
        ids = left["sample_id"].unique(maintain_order=True)
        both = ids.filter(ids.is_in(list(places)))
        parts = sorted({places[sample_id] for sample_id in both})
        tables = [read_gates(other.path, part, samples=both.to_list()) for part in parts]
        if tables:
            _compare(left.filter(pl.col("sample_id").is_in(both.implode())), pl.concat(tables), tallies)
        advance(len(ids))
    kinds = {kind: place for place, kind in enumerate(one.manifest.gate_kinds)}
    order = sorted(tallies, key=lambda key: (kinds.get(key[1], len(kinds)), key[0]))
    return [tallies[key].difference(*key) for key in order]


def _compare(left: pl.DataFrame, right: pl.DataFrame, tallies: dict[tuple[int, str], _Tally]) -> None:
    left, right = _paired(left, right, tallies)
    gap, unlike = _gaps(left, right)
    width = gap.shape[1]
    rows = left.select(ROW_KEYS).with_columns(
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
    if left.height == right.height and left.select(ROW_KEYS).equals(right.select(ROW_KEYS)):
        return left, right
    rows = left.select(ROW_KEYS).with_row_index("left")
    pairs = rows.join(right.select(ROW_KEYS).with_row_index("right"), on=ROW_KEYS, how="full", coalesce=True)
    lacking = pl.col("left").is_null() | pl.col("right").is_null()
    gates = set(left.select("layer", "gate").iter_rows()) & set(right.select("layer", "gate").iter_rows())
    for layer, kind, count in pairs.filter(lacking).group_by("layer", "gate").len().iter_rows():
        if (layer, kind) in gates:
            tallies.setdefault((layer, kind), _Tally()).unpaired += count
    known = pairs.filter(~lacking).sort("left")
    return left[known["left"]], right[known["right"]]


def _gaps(left: pl.DataFrame, right: pl.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Absolute differences (rows, channels), 0 where none can be taken, and which values are unlike."""
    one, other = values_of(left), values_of(right)
    with np.errstate(invalid="ignore"):
        gap = np.abs(one.astype(np.float64) - other)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    unlike = ~np.isfinite(gap) & ~same
    return np.where(same | unlike, 0.0, gap), unlike


def channels_of(runs: Sequence[Run]) -> list[int]:
    """How many channels the gates of each run have, 1 where they have one value a clip."""
    found: list[int] = []
    for run in runs:
        schema = run.gates.collect_schema()
        kind = schema.get("values")
        found.append(kind.shape[0] if isinstance(kind, pl.Array) else 1)
    return found
