"""One walk over the gates of every clip: what each sample's course over time adds to its means.

An elementwise gate is represented by its mean over channels. What is kept of a sample is a few numbers a
gate, so that memory does not grow with clips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...runtime.array_types import Float64s
from ...runtime.runs.gates import GateSeries
from ...runtime.runs.reader import Run
from ...runtime.runs.series import sample_series
from ..report.context import Context
from .strength import AudioStrength, strength_of

#: Stretches into which a video is divided, and shares into which clips are by the strength of their audio.
STRETCHES = 20
STRENGTHS = 10


class GateKey(NamedTuple):
    """One gate of the model."""

    layer: int
    kind: str


@dataclass(frozen=True)
class ClipStatistics:
    """What every sample's clips say, gates and samples in the order of ``keys`` and ``samples``.

    - ``pairs``: which gates are compared: two layers of a kind, two kinds of a layer.
    - ``correlations`` (samples, pairs): Pearson's over the sample's clips. NaN where one gate is constant.
    - ``course`` (samples, gates, STRETCHES): mean gate in every twentieth of the video; NaN where no clip is.
    - ``strength_correlations`` (samples, gates): with the strength of the clip's audio.
    - ``by_strength`` (samples, gates, STRENGTHS): mean gate of the clips of each tenth by strength;
      ``strengths`` (STRENGTHS): the strength in the middle of each tenth, empty where nothing is known.
    - ``mean_strength`` (samples): of the sample's clips. ``contribution`` (samples, gates): mean over clips.
    - ``largest``: by kind, the largest \\|gate\\| of a clip.

    A gate that is one value a video (global) has neither course nor correlation over clips: NaN.
    """

    samples: tuple[str, ...]
    keys: tuple[GateKey, ...]
    pairs: tuple[tuple[int, int], ...]
    correlations: Float64s
    course: Float64s
    strength_correlations: Float64s
    by_strength: Float64s
    strengths: Float64s
    mean_strength: Float64s
    contribution: Float64s
    largest: dict[str, float]

    @cached_property
    def place(self) -> dict[str, int]:
        """Each sample's row."""
        return {sample_id: place for place, sample_id in enumerate(self.samples)}


def clips_of(context: Context) -> ClipStatistics:
    """What every sample's clips say; the gates kind by kind, each from the first layer on."""
    summary = context.summary
    there = set(summary.by_layer.select("layer", "gate").iter_rows())
    keys = [
        GateKey(layer, kind) for kind in summary.kinds for layer in summary.layers if (layer, kind) in there
    ]
    lengths = context.queries.select("sample_id", "clips").unique("sample_id", keep="first")
    videos = context.videos.join(lengths, on="sample_id", how="left", maintain_order="left")
    return clip_statistics(context.run, keys, videos, context.once(strength_of), progress=context.progress)


def clip_statistics(
    run: Run,
    keys: Sequence[GateKey],
    videos: pl.DataFrame,
    strength: AudioStrength,
    *,
    progress: Callable[[], object] | None = None,
) -> ClipStatistics:
    """Read the gates once, by clip. ``videos``: ``sample_id, vid, clips``, a row a sample, in their order."""
    samples = tuple(videos["sample_id"].to_list())
    place = {sample_id: number for number, sample_id in enumerate(samples)}
    vids: list[str] = videos["vid"].to_list()
    lengths: list[int] = videos["clips"].to_list()
    column_of = {key: column for column, key in enumerate(keys)}
    whole_video = np.array([_is_global(run, key) for key in keys], np.bool_)
    pairs = tuple(
        (one, other)
        for one, other in combinations(range(len(keys)), 2)
        if keys[one].kind == keys[other].kind or keys[one].layer == keys[other].layer
    )
    left, right = (np.array([pair[side] for pair in pairs], np.intp) for side in (0, 1))
    edges, middles = _tenths([strength.clips[vid] for vid in dict.fromkeys(vids) if vid in strength.clips])
    height, width = len(samples), len(keys)
    found = ClipStatistics(
        samples=samples,
        keys=tuple(keys),
        pairs=pairs,
        correlations=np.full((height, len(pairs)), np.nan),
        course=np.full((height, width, STRETCHES), np.nan),
        strength_correlations=np.full((height, width), np.nan),
        by_strength=np.full((height, width, STRENGTHS), np.nan),
        strengths=middles,
        mean_strength=np.full(height, np.nan),
        contribution=np.full((height, width), np.nan),
        largest=dict.fromkeys([key.kind for key in keys], 0.0),
    )
    for sample_id, series in sample_series(run, channels=False):
        row = place[sample_id]
        gates = _matrix(series, column_of)
        whole_audio = strength.clips.get(vids[row], np.empty(0, np.float32))
        audio = _fitted(whole_audio, gates.shape[1])
        for one in series:
            column = column_of[GateKey(one.layer, one.kind)]
            size = np.abs(one.values[np.isfinite(one.values)]).max(initial=0.0)
            found.largest[one.kind] = max(found.largest[one.kind], float(size))
            if one.contribution is not None:
                found.contribution[row, column] = _mean(one.contribution.astype(np.float64))
        found.mean_strength[row] = _mean(whole_audio[: lengths[row]].astype(np.float64))
        gates[whole_video] = np.nan
        r = _correlations(np.vstack([gates, audio]))
        found.correlations[row] = r[left, right]
        found.strength_correlations[row] = r[-1, :-1]
        if gates.shape[1] > 1:
            at = (np.arange(gates.shape[1]) + 0.5) / gates.shape[1]
            stretches = (at * STRETCHES).astype(np.intp)
            found.course[row] = _means_in(gates, stretches, STRETCHES)
        if not np.isnan(audio).all():
            tenths = np.searchsorted(edges, audio, side="right")
            found.by_strength[row] = _means_in(np.where(np.isnan(audio), np.nan, gates), tenths, STRENGTHS)
        if progress is not None:
            progress()
    return found


def _is_global(run: Run, key: GateKey) -> bool:
    return any(gate.kind == key.kind and not gate.per_clip for gate in run.manifest.gates)


def _matrix(series: Sequence[GateSeries], column_of: Mapping[GateKey, int]) -> Float64s:
    """The sample's gates (gates, clips) by clip index, NaN where there is none or it is not finite."""
    length = 1 + max(int(one.clips.max()) for one in series)
    gates: Float64s = np.full((len(column_of), length), np.nan)
    for one in series:
        gates[column_of[GateKey(one.layer, one.kind)], one.clips] = one.values[:, 0]
    gates[~np.isfinite(gates)] = np.nan
    return gates


def _fitted(strength: NDArray[np.float32], length: int) -> Float64s:
    """The strength of ``length`` clips; NaN beyond what is known."""
    fitted: Float64s = np.full(length, np.nan)
    known = min(length, len(strength))
    fitted[:known] = strength[:known]
    return fitted


def _tenths(strengths: Sequence[NDArray[np.float32]]) -> tuple[Float64s, Float64s]:
    """Where one tenth of all clips ends and the next begins, and the middle of each."""
    if not strengths:
        return np.empty(0), np.empty(0)
    places = np.linspace(0, 1, 2 * STRENGTHS + 1)[1:-1]
    found = np.quantile(np.concatenate(strengths).astype(np.float64), places)
    return found[1::2], found[::2]


def _correlations(rows: Float64s) -> Float64s:
    """Pearson's correlation of every two rows over the columns that both have; NaN where one is constant."""
    known = ~np.isnan(rows)
    whole = known.all(axis=1)
    if not (whole | ~known.any(axis=1)).all():  # some clips are missing in some gates: pair by pair
        r = np.full((len(rows), len(rows)), np.nan)
        for one, other in combinations(range(len(rows)), 2):
            both = known[one] & known[other]
            r[one, other] = r[other, one] = _products(rows[[one, other]][:, both])[0, 1]
        return r
    r = np.full((len(rows), len(rows)), np.nan)
    r[np.ix_(whole, whole)] = _products(rows[whole])
    return r


def _products(rows: Float64s) -> Float64s:
    """Correlations of rows without a gap."""
    if rows.shape[0] == 0 or rows.shape[1] < 2:
        return np.full((len(rows), len(rows)), np.nan)
    varies = rows.max(axis=1) > rows.min(axis=1)
    centred = rows - rows.mean(axis=1, keepdims=True)
    sizes = np.where(varies, np.sqrt((centred * centred).sum(axis=1)), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = centred / sizes[:, None]
    return np.clip(unit @ unit.T, -1.0, 1.0)


def _means_in(rows: Float64s, group: NDArray[np.intp], groups: int) -> Float64s:
    """The mean of every row over the columns of each group, (rows, groups)."""
    member = (group[:, None] == np.arange(groups)).astype(np.float64)
    known = ~np.isnan(rows)
    with np.errstate(invalid="ignore"):
        return (np.where(known, rows, 0.0) @ member) / (known.astype(np.float64) @ member)


def _mean(values: Float64s) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan
