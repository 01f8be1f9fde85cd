"""Calls users' own statistics and figures; one that fails is named and does not stop the others."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, cast

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...runtime.runs.reader import Run
from ...runtime.runs.series import gate_series
from ..figures.style import png
from .registry import Plugin

# More keys are most likely ids: a column for each would be as large as the table of samples, squared.
_MOST_KEYS = 200


@dataclass(frozen=True)
class Failure:
    """A plug-in that failed: which, the first error, and of how many samples (0: of a figure)."""

    what: str
    name: str
    place: str
    error: str
    samples: int = 0
    first_sample: str | None = None


@dataclass
class Values:
    """One statistic's values: by key ("" for a single number) and sample_id; and how it failed, if it did."""

    plugin: Plugin
    by_key: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    failed: int = 0
    error: str = ""
    first_failed: str | None = None

    def column(self, key: str) -> str:
        """The name of the column of ``key``."""
        return f"{self.plugin.name}.{key}" if key else self.plugin.name

    def take(self, sample_id: str, gates: Mapping[str, NDArray[np.float32]]) -> None:
        """Compute the value of one sample; what goes wrong is counted, and the first of it kept."""
        try:
            numbers = _numbers(self.plugin.function(dict(gates)))
            if len(self.by_key.keys() | numbers.keys()) > _MOST_KEYS:
                raise ValueError(f"more than {_MOST_KEYS} different keys; are they ids?")
            for key, value in numbers.items():
                self.by_key.setdefault(key, {})[sample_id] = value
        except Exception as error:
            self.failed += 1
            if self.first_failed is None:
                self.error, self.first_failed = _told(error), sample_id

    @property
    def failure(self) -> Failure | None:
        """How it failed; None where it never did."""
        if not self.failed:
            return None
        plugin = self.plugin
        return Failure(plugin.what, plugin.name, plugin.place, self.error, self.failed, self.first_failed)


def compute_statistics(
    run: Run, statistics: Sequence[Plugin], progress: Callable[[], object] = lambda: None
) -> list[Values]:
    """Every statistic of every sample, part by part; ``progress`` is called once a sample."""
    found = [Values(plugin) for plugin in statistics]
    if not found:
        return found
    for sample_id, gates in _samples(run):
        progress()
        for values in found:
            values.take(sample_id, gates)
    return found


def statistics_frame(found: Sequence[Values], videos: pl.DataFrame) -> pl.DataFrame:
    """One row a sample of ``videos`` (``sample_id, vid``), a column for each value, NaN for none."""
    samples = videos["sample_id"].to_list()
    columns = {
        values.column(key): [own.get(sample_id, math.nan) for sample_id in samples]
        for values in found
        for key, own in values.by_key.items()
    }
    return videos.select("sample_id", "vid").with_columns(
        pl.Series(name, column, dtype=pl.Float64) for name, column in columns.items()
    )


def draw_plugin(plugin: Plugin, frame: pl.DataFrame) -> bytes | Failure:
    """The figure as a PNG file, or how it failed."""
    try:
        figure = plugin.function(frame)
        if not isinstance(figure, Figure):
            raise TypeError(f"it returned {_kind(figure)}; expected a matplotlib Figure")
        image = png(figure)
        if (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
            pyplot.close(figure)
        return image
    except Exception as error:
        return Failure(plugin.what, plugin.name, plugin.place, _told(error))


def _samples(run: Run) -> Iterator[tuple[str, Mapping[str, NDArray[np.float32]]]]:
    current: str | None = None
    layers: dict[str, list[NDArray[np.float32]]] = {}
    for series in gate_series(run):
        if series.sample_id != current:
            if current is not None:
                yield current, _stacked(layers)
            current, layers = series.sample_id, {}
        layers.setdefault(series.kind, []).append(series.values.copy())
    if current is not None:
        yield current, _stacked(layers)


def _stacked(layers: Mapping[str, list[NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
    stacked = {kind: np.stack(arrays) for kind, arrays in layers.items()}
    for array in stacked.values():
        array.flags.writeable = False  # the next statistic sees the same gates
    return stacked


def _numbers(value: Any) -> dict[str, float]:
    if isinstance(value, Mapping):
        if not value:
            raise TypeError("it returned an empty dict; expected a number under each key")
        items = cast(Mapping[Any, Any], value).items()
        for key, one in items:
            if not isinstance(key, str) or not key:
                raise TypeError(f"a key of its dict is {key!r}; expected text")
            if not _is_number(one):
                raise TypeError(f"its dict holds {_kind(one)} under '{key[:60]}'; expected a number")
        return {key: float(one) for key, one in items}
    if not _is_number(value):
        raise TypeError(f"it returned {_kind(value)}; expected a number, or a dict from text to numbers")
    return {"": float(value)}


def _is_number(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and value.dtype.kind in "iuf"
    return isinstance(value, Real)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing (None)"
    shape = f" of the shape {value.shape}" if isinstance(value, np.ndarray) else ""
    return f"a {type(value).__name__}{shape}"


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
