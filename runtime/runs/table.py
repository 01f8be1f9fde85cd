"""Gates of samples as rows of the gate table, one per sample, layer, gate and valid clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import GatescopeError
from .schema import MOST_CLIPS, gate_schema


@dataclass(frozen=True, eq=False)
class SampleGates:
    """The gates of one sample: by kind, float32 (layers, L | 1, 1 | d), valid clips only.

    ``contributions``: by kind, float32 (layers, L), where the model gives them.
    """

    sample_id: str
    gates: dict[str, NDArray[np.float32]]
    contributions: dict[str, NDArray[np.float32]] = field(default_factory=dict[str, NDArray[np.float32]])


def cut_sample(
    sample_id: str,
    gates: Mapping[str, NDArray[np.float32]],
    row: int,
    clips: int,
    contributions: Mapping[str, NDArray[np.float32]] | None = None,
) -> SampleGates:
    """The gates of row ``row`` of a batch, (B, layers, L | 1, 1 | d) by kind, without its padding clips.

    ``contributions`` (B, layers, L) by kind are cut with them. Raises
    :class:`~gatescope.runtime.errors.GatescopeError` where a number is NaN or Inf.
    """
    return SampleGates(
        sample_id,
        {kind: _cut(sample_id, f"{kind} gates", array, row, clips) for kind, array in gates.items()},
        {
            kind: _cut(sample_id, f"contributions of the {kind} gates", array, row, clips)
            for kind, array in (contributions or {}).items()
        },
    )


def _cut(sample_id: str, what: str, array: NDArray[np.float32], row: int, clips: int) -> NDArray[np.float32]:
    # A copy, so that the batch's array is not kept alive by its samples.
    own = array[row, :, :clips].copy()
    if not np.isfinite(own).all():
        raise GatescopeError(
            f"the model's {what} for {sample_id} are not finite",
            received="NaN or Inf",
            fix="check the sample's features, and the model",
        )
    return own


def gate_table(samples: Sequence[SampleGates]) -> pl.DataFrame:
    """The rows of ``samples``, ordered by sample, layer, gate (as the kinds are ordered) and clip.

    A gate with channels is stored whole in ``values`` and as its mean (summed in float64) in ``value``; a
    gate without, in a model where another has them, has no ``values``. So it is with ``contribution``, which
    a global gate has as its mean over clips.
    """
    blocks = [
        (number, layer, kind, array[layer])
        for number, sample in enumerate(samples)
        for layer in range(max((len(array) for array in sample.gates.values()), default=0))
        for kind, array in sample.gates.items()
        if layer < len(array)
    ]
    channels = max((block.shape[1] for *_, block in blocks), default=1)
    schema = gate_schema(channels, contribution=any(sample.contributions for sample in samples))
    if not blocks:
        return pl.DataFrame(schema=schema)
    lengths = [len(block) for *_, block in blocks]
    if max(lengths) > MOST_CLIPS:
        raise GatescopeError(f"a sample has {max(lengths)} clips", expected=f"at most {MOST_CLIPS}")
    kinds = list(dict.fromkeys(kind for _, _, kind, _ in blocks))
    of_sample = np.repeat([number for number, *_ in blocks], lengths)
    of_kind = np.repeat([kinds.index(kind) for _, _, kind, _ in blocks], lengths)
    columns: dict[str, pl.Series] = {
        "sample_id": pl.Series([sample.sample_id for sample in samples]).gather(of_sample),
        "layer": pl.Series(np.repeat([layer for _, layer, *_ in blocks], lengths).astype(np.uint8)),
        "gate": pl.Series(kinds).gather(of_kind),
        "clip": pl.Series(np.concatenate([np.arange(n) for n in lengths]).astype(np.uint16)),
        "value": pl.Series(np.concatenate([_mean(block) for *_, block in blocks])),
    }
    if channels > 1:
        columns["values"] = _values([block for *_, block in blocks], channels)
    if "contribution" in schema:
        columns["contribution"] = _contributions(
            [samples[number].contributions.get(kind) for number, _, kind, _ in blocks],
            [layer for _, layer, *_ in blocks],
            lengths,
        )
    return pl.DataFrame(columns, schema=schema)


def _mean(block: NDArray[np.float32]) -> NDArray[np.float32]:
    return block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float64).astype(np.float32)


def _contributions(
    arrays: Sequence[NDArray[np.float32] | None], layers: Sequence[int], lengths: Sequence[int]
) -> pl.Series:
    rows: list[pl.Series] = []
    for array, layer, length in zip(arrays, layers, lengths, strict=True):
        if array is None:
            rows.append(pl.Series([None] * length, dtype=pl.Float32))
        elif array.shape[1] == length:
            rows.append(pl.Series(array[layer]))
        else:
            rows.append(pl.Series([array[layer].mean(dtype=np.float64)], dtype=pl.Float32))
    return pl.concat(rows)


def _values(blocks: Sequence[NDArray[np.float32]], channels: int) -> pl.Series:
    kind = pl.Array(pl.Float32, channels)
    narrow = [block.shape[1] != channels for block in blocks]
    filled = [
        np.zeros((len(block), channels), np.float32) if empty else block
        for block, empty in zip(blocks, narrow, strict=True)
    ]
    values = pl.Series("values", np.concatenate(filled), dtype=kind)
    if not any(narrow):
        return values
    absent = pl.Series("absent", np.repeat(narrow, [len(block) for block in blocks]))
    frame = pl.DataFrame([values, absent])
    return frame.select(pl.when(~pl.col("absent")).then(pl.col("values")).alias("values"))["values"]
