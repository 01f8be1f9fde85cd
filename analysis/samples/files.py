"""The files of single samples, made one by one: statistics, picture and raw gates."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...runtime.brief import counted
from ...runtime.runs.gates import GateSeries
from ...runtime.runs.series import sample_series
from ..evaluation.known import evaluation_of
from ..figures.sample import Course, SamplePicture
from ..figures.style import png, short
from ..relations.clips import ClipStatistics, clips_of
from ..report.context import Context
from ..report.document import statistics_block, to_json

FOLDER = "individual_samples"
RAW_FOLDER = "raw_data"
_SHORT = {"attention": "att"}


def details_path(name: str) -> str:
    """Where the statistics of a sample lie, by its file name."""
    return f"{FOLDER}/{name}_details.json"


def picture_path(name: str) -> str:
    """Where the picture of a sample lies, by its file name."""
    return f"{FOLDER}/gate_analysis_{name}.png"


def raw_path(name: str, layer: int, kind: str) -> str:
    """Where a sample's gates of one layer lie, by its file name."""
    # No underscore in a kind: two different names never make the same path.
    return f"{RAW_FOLDER}/{name}_layer{layer}_{_SHORT.get(kind, kind).replace('_', '-')}.npy"


def sample_files(context: Context, names: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """(path, content) of every file of the samples ``names``, a file name by sample_id, in the run's order.

    The gates are read part by part, and only the parts that hold one of the samples.
    """
    summary, clips = context.summary, context.once(clips_of)
    picture = SamplePicture(summary.by_layer, summary.per_sample, summary.ranges, clips.largest)
    chosen = [*names]
    rows = _RowsOf(summary.per_sample)
    queries = _RowsOf(_with_results(context))
    for sample_id, series in sample_series(context.run, channels=context.options.raw, samples=chosen):
        name, own, asked = names[sample_id], rows[sample_id], queries[sample_id]
        details = _details(sample_id, own, asked, clips, gating=summary.gating, layers=summary.layers)
        yield details_path(name), to_json(details).encode()
        courses = {kind: _course(series, kind, summary.layers) for kind in summary.kinds}
        statistics = {(row["layer"], row["gate"]): row for row in own}
        vids = dict.fromkeys(row["vid"] for row in asked)
        length = counted(max((row["clips"] for row in asked), default=0), "clip")
        picture.show(sample_id, courses, statistics, f"Video {short(', '.join(vids), 60)}; {length}.")
        yield picture_path(name), png(picture.figure)
        if context.options.raw:
            for one in series:
                yield raw_path(name, one.layer, one.kind), _npy(one.values)
        context.progress()


def _details(
    sample_id: str,
    rows: Sequence[Mapping[str, Any]],
    queries: Sequence[Mapping[str, Any]],
    clips: ClipStatistics,
    *,
    gating: str,
    layers: Sequence[int],
) -> dict[str, Any]:
    """The document. ``rows`` are the sample's of ``GateSummary.per_sample``, ``queries`` its queries.

    ``shape`` is that of the array (1, L | 1, 1 | d), with the axis of the batch.
    """
    place = clips.place[sample_id]
    column = {tuple(key): at for at, key in enumerate(clips.keys)}
    analysis: list[dict[str, Any]] = [{"layer_index": layer} for layer in layers]
    of_layer = dict(zip(layers, analysis, strict=True))
    for row in rows:
        at = column[row["layer"], row["gate"]]
        block = {"shape": [1, row["clips"], row["channels"]], **statistics_block(row)}
        for name, values in (
            ("contribution", clips.contribution),
            ("correlation_with_audio_strength", clips.strength_correlations),
        ):
            if not math.isnan(values[place, at]):
                block[name] = float(values[place, at])
        of_layer[row["layer"]][f"{row['gate']}_gate"] = block
    return {
        "sample_id": sample_id,
        "gating_type": gating,
        "num_layers": len(layers),
        "queries": [{name: value for name, value in row.items() if name != "sample_id"} for row in queries],
        "layer_analysis": analysis,
        "correlations_over_clips": _correlations_over_clips(clips, place),
    }


def _correlations_over_clips(clips: ClipStatistics, place: int) -> list[dict[str, Any]]:
    """Every two gates that move at the sample's clips, and how far together."""
    return [
        {
            "layer": clips.keys[one].layer,
            "gate": clips.keys[one].kind,
            "other_layer": clips.keys[other].layer,
            "other_gate": clips.keys[other].kind,
            "correlation": float(clips.correlations[place, at]),
        }
        for at, (one, other) in enumerate(clips.pairs)
        if not math.isnan(clips.correlations[place, at])
    ]


def _with_results(context: Context) -> pl.DataFrame:
    """The queries, with how well each was answered where that is known."""
    queries, evaluation = context.queries, context.once(evaluation_of)
    if evaluation is None:
        return queries
    results = evaluation.per_query
    taken = [name for name in results.columns if name not in queries.columns]
    return queries.join(results.select("qid", *taken), on="qid", how="left", maintain_order="left")


class _RowsOf:
    """The rows of a frame by sample_id, as dicts only while they are looked at."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame
        places = frame.with_row_index("at").group_by("sample_id").agg(pl.col("at"))
        self._places: dict[str, list[int]] = dict(places.iter_rows())

    def __getitem__(self, sample_id: str) -> list[dict[str, Any]]:
        return self._frame[self._places.get(sample_id, [])].to_dicts()


def _course(series: Sequence[GateSeries], kind: str, layers: Sequence[int]) -> Course:
    """(layers, clips), an elementwise gate as its mean over channels; NaN where there is none."""
    own = [one for one in series if one.kind == kind]
    length = 1 + max((int(one.clips.max()) for one in own), default=0)
    course: Course = np.full((len(layers), length), np.nan)
    for one in own:
        course[layers.index(one.layer), one.clips] = one.values.mean(axis=1, dtype=np.float64)
    return course


def _npy(values: NDArray[np.float32]) -> bytes:
    """The gates as an ``.npy`` file, with the axis of the batch: (1, L | 1, 1 | d)."""
    buffer = io.BytesIO()
    np.save(buffer, values[None])
    return buffer.getvalue()
