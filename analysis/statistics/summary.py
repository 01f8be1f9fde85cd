"""All the numbers of a run: per gate, per layer and gate, per sample, layer and gate; exact and streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ...runtime.brief import brief
from ...runtime.errors import RunFolderError
from ...runtime.gates.manifest import Manifest
from ...runtime.runs.gates import GateSeries
from ...runtime.runs.reader import Run
from ...runtime.runs.series import gate_series
from ...runtime.statistics.histogram import Histogram
from ...runtime.statistics.limits import GateLimits, limits_of
from ...runtime.statistics.moments import Moments, MomentSummary
from .quantiles import BinCounts, RankCounts, percentiles_of, streamed_percentiles
from .rows import Rows
from .statistic import PERCENTILES, STATISTICS, Measured

_COLUMNS: dict[str, Any] = {one.name: pl.Int64 if one.group == "count" else pl.Float64 for one in STATISTICS}
_LAYER_KEY: dict[str, Any] = {"layer": pl.UInt8, "gate": pl.String}
_SAMPLE_KEY: dict[str, Any] = {
    "sample_id": pl.String,
    **_LAYER_KEY,
    "clips": pl.UInt32,
    "channels": pl.UInt32,
}
_BIN: dict[str, Any] = {**_LAYER_KEY, "low": pl.Float64, "high": pl.Float64, "count": pl.Int64}


@dataclass(frozen=True)
class GateSummary:
    """The statistics of one run. The first three frames have the columns of ``STATISTICS`` after their keys.

    - ``overall``: one row a ``gate`` (kind), over all layers and samples.
    - ``by_layer``: one row a ``layer`` and ``gate``.
    - ``per_sample``: one row a ``sample_id``, ``layer`` and ``gate``, with its ``clips`` and ``channels``.
    - ``distribution``: ``layer, gate, low, high, count``: 64 equal bins over the range of the gate's kind.
    - ``ranges``: smallest and largest value a gate of each kind can take. ``film``: the kinds that multiply
      their branch by 1 + g, where a gate at 0 leaves the branch as it is; the others multiply it by g.

    Shares are fractions of ``count``; ``entropy`` is that of the 64 bins, in bits;
    statistics of nothing (``count`` 0) are NaN.
    """

    gating: str
    layers: tuple[int, ...]
    kinds: tuple[str, ...]
    ranges: dict[str, tuple[float, float]]
    film: frozenset[str]
    overall: pl.DataFrame
    by_layer: pl.DataFrame
    per_sample: pl.DataFrame
    distribution: pl.DataFrame

    @property
    def samples(self) -> int:
        """How many samples the gates belong to."""
        return self.per_sample["sample_id"].n_unique()

    def __repr__(self) -> str:
        return brief(self)


def summarise(run: Run, *, progress: Callable[[], object] | None = None) -> GateSummary:
    """Read a run's gates twice, part by part, and reduce them to their statistics.

    All are over every valid entry (elementwise: every channel of every clip); NaN and ±Inf are counted and
    left out. Percentiles equal ``numpy.percentile`` of the whole. ``progress`` is called once a sample and
    pass. Raises :class:`~gatescope.runtime.errors.RunFolderError` for a run without gates.
    """
    streams: dict[tuple[int, str], _Stream] = {}
    rows = Rows({**_SAMPLE_KEY, **_COLUMNS})
    for series in _told(gate_series(run), progress):
        key = series.layer, series.kind
        if key not in streams:
            streams[key] = _Stream.of_layer(run.manifest, *key)
        rows.append(streams[key].first_pass(series))

    layers = tuple(sorted({layer for layer, _ in streams}))
    kinds = tuple(kind for kind in run.manifest.gate_kinds if any(of == kind for _, of in streams))
    whole = {
        kind: _Stream.of_kind(
            run.manifest, kind, [stream for (_, of), stream in streams.items() if of == kind]
        )
        for kind in kinds
    }
    ranks = {
        key: RankCounts(stream.wanted_bins | whole[key[1]].wanted_bins) for key, stream in streams.items()
    }
    for series in _told(gate_series(run), progress):
        ranks[series.layer, series.kind].update(series.values)

    by_layer = Rows({**_LAYER_KEY, **_COLUMNS})
    distribution = Rows(_BIN)
    for key in sorted(streams, key=lambda key: (key[0], kinds.index(key[1]))):
        by_layer.append((*key, *streams[key].statistics(ranks[key])))
        for low, high, count in streams[key].histogram.bins():
            distribution.append((*key, low, high, count))
    overall = Rows({"gate": pl.String, **_COLUMNS})
    for kind, stream in whole.items():
        counts = RankCounts(stream.wanted_bins)
        for (_, of), of_layer in ranks.items():
            if of == kind:
                counts.merge(of_layer)
        overall.append((kind, *stream.statistics(counts)))
    return GateSummary(
        gating=run.manifest.gating,
        layers=layers,
        kinds=kinds,
        ranges={kind: run.manifest.gate_range(kind) for kind in kinds},
        film=frozenset(kind for kind in kinds if run.manifest.acts_as(kind) == "1+g"),
        overall=overall.frame(),
        by_layer=by_layer.frame(),
        per_sample=rows.frame(),
        distribution=distribution.frame(),
    )


@dataclass(frozen=True)
class _Stream:
    """The accumulators of one gate: of one layer, or of all layers together."""

    moments: Moments
    bins: BinCounts
    histogram: Histogram

    @classmethod
    def of_layer(cls, manifest: Manifest, layer: int, kind: str) -> _Stream:
        if kind not in manifest.gate_kinds:
            raise RunFolderError(
                "the gate table does not fit the run's manifest",
                received=f"a gate '{kind}'",
                expected=f"only {', '.join(manifest.gate_kinds)}",
                fix="run the model again into a fresh folder",
            )
        return cls(
            Moments(limits_of(manifest, layer, kind)), BinCounts(), Histogram(*manifest.gate_range(kind))
        )

    @classmethod
    def of_kind(cls, manifest: Manifest, kind: str, layers: Iterable[_Stream]) -> _Stream:
        low, high = manifest.gate_range(kind)
        whole = cls(Moments(GateLimits.of(low, high)), BinCounts(), Histogram(low, high))
        for stream in layers:
            whole.moments.merge(stream.moments)
            whole.bins.merge(stream.bins)
            whole.histogram.merge(stream.histogram)
        return whole

    @property
    def wanted_bins(self) -> frozenset[int]:
        return self.bins.bins_for(PERCENTILES)

    def first_pass(self, series: GateSeries) -> tuple[Any, ...]:
        """Add one sample's gate; gives that sample's own row."""
        own, shape = Moments(self.moments.limits), Histogram(self.histogram.low, self.histogram.high)
        own.update(series.values)
        shape.update(series.values)
        self.moments.merge(own)
        self.bins.update(series.values)
        self.histogram.merge(shape)
        clips, channels = series.values.shape
        values = (
            series.values if own.count == series.values.size else series.values[np.isfinite(series.values)]
        )
        key = (series.sample_id, series.layer, series.kind, clips, channels)
        percentiles = percentiles_of(values, PERCENTILES)
        return key + _statistics(own.finalise(), percentiles, shape.entropy)

    def statistics(self, ranks: RankCounts) -> tuple[Any, ...]:
        percentiles = streamed_percentiles(self.bins, ranks, PERCENTILES)
        return _statistics(self.moments.finalise(), percentiles, self.histogram.entropy)


def _statistics(moments: MomentSummary, percentiles: tuple[float, ...], entropy: float) -> tuple[Any, ...]:
    """The values of the columns of ``STATISTICS``, in their order."""
    found = Measured(moments, dict(zip(PERCENTILES, percentiles, strict=True)), entropy)
    return tuple(one.of(found) for one in STATISTICS)


def _told(series: Iterator[GateSeries], progress: Callable[[], object] | None) -> Iterator[GateSeries]:
    """The same series, with ``progress`` called whenever another sample begins."""
    current: str | None = None
    for item in series:
        if item.sample_id != current:
            current = item.sample_id
            if progress is not None:
                progress()
        yield item
