"""Snapshots made by hand, the gates in them, and what an exposition says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from gatescope.runtime.monitor.alarm import Alarm, AlarmKind, Diagnosis, Example, WindowReading
from gatescope.runtime.monitor.counting.layout import GateLayout
from gatescope.runtime.monitor.counting.totals import GateTotals
from gatescope.runtime.monitor.counting.videos import count_gates
from gatescope.runtime.monitor.detectors import DETECTORS
from gatescope.runtime.monitor.metrics.state import Detection, FleetState, MetricsSnapshot, WorkerState
from gatescope.runtime.monitor.model import WatchedModel

RANGES = {("attention", "0"): (-1.0, 1.0), ("attention", "1"): (0.0, 1.0), ("ffn", "0"): (-0.3, 0.7)}
LAYOUT = GateLayout.of([(kind, int(layer), low, high) for (kind, layer), (low, high) in RANGES.items()])
MODEL = WatchedModel(
    "c" * 64, "audio_video", "clipwise", "exact", "float32", "r" * 64, LAYOUT.ranges, depends_on_text=False
)
#: An id that must never be seen in a metric.
SECRET = "secret-video-id"
VERSIONS = {"version": "0.1.0", "python": "3.11"}

Gates = dict[str, np.ndarray]
#: By name and labels.
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def gates(videos: int, seed: int = 0, clips: int = 30) -> Gates:
    """Gates of every row: some beyond their range, some at its ends, some no finite numbers."""
    rng = np.random.default_rng(seed)
    made = rng.normal(0.1, 0.4, (videos, 3, clips, 1)).astype(np.float32)
    for row, (low, high) in enumerate(RANGES.values()):
        made[:1, row, :4, 0] = [low, high, low - 0.2, high + 0.2]
        made[:1, row, 4 : 6 + row, 0] = np.nan
        made[:1, row, 10 : 11 + row, 0] = np.inf
    return {"attention": made[:, :2], "ffn": made[:, 2:]}


def values_of(given: Gates, gate: str, layer: str) -> np.ndarray:
    """All values of one row, float64."""
    return given[gate][:, int(layer)].reshape(-1).astype(np.float64)


def state_of(given: Gates, slices: Mapping[str, int] | None = None, **counters: float) -> WorkerState:
    """What a process has counted that saw ``given``."""
    counts = count_gates(LAYOUT, given)
    state = WorkerState(GateTotals(LAYOUT), Counter(slices or {"": len(counts)}))
    state.totals.update(counts)
    state.counters.update(counters)
    state.last_inference = 1_700_000_000.0 + len(counts)
    return state


def reading(kind: AlarmKind, gate: str = "", layer: int | None = None, **numbers: Any) -> WindowReading:
    """One reading of a window of 25 videos."""
    usual = {"window": 25, "value": 0.5, "baseline": 0.1, "threshold": 0.3, "effect": 4.0, "excess": 2.0}
    return WindowReading(kind, gate, layer, **{**usual, **numbers})


def alarm(kinds: Sequence[AlarmKind], slice_: str = "", label: str = "silent audio") -> Alarm:
    """An alarm that fires, with an example."""
    return Alarm(
        number=1,
        state="firing",
        model=MODEL.version,
        slice=slice_,
        kinds=tuple(kinds),
        window=25,
        first=1.0,
        last=2.0,
        videos=30,
        diagnosis=Diagnosis(label),
        readings=(reading(kinds[0]),),
        examples=(Example(SECRET, 1.0, "segment"),),
    )


def all_readings(model: WatchedModel = MODEL) -> list[WindowReading]:
    """A reading of every detector that looks at rows, for every row, and of frozen gates."""
    of_rows: list[AlarmKind] = ["drift", "level", "saturation", "collapse", "constant", "nan"]
    rows = [
        reading(kind, row.kind, row.layer, excess=number + row.layer / 10)
        for number, kind in enumerate(of_rows)
        for row in model.layout.rows
    ]
    return [*rows, reading("frozen", value=0.25)]


def detection(
    firing: Sequence[Alarm] = (),
    readings: Mapping[str, Sequence[WindowReading]] | None = None,
    **numbers: Any,
) -> Detection:
    """What a watcher of all traffic and of the slice ``ko`` sees."""
    usual: dict[str, Any] = {
        "filled": {"": 25, "ko": 7},
        "raised": {kind: number for number, kind in enumerate(DETECTORS)},
        "slices": ("ko",),
        "watched": 41,
        "baseline_videos": 300,
        "false_alarms": 0.01,
    }
    return Detection(readings=readings or {"": all_readings()}, firing=firing, **{**usual, **numbers})


def snapshot_of(
    state: WorkerState, seen: Detection | None = None, *, model: WatchedModel = MODEL, **more: Any
) -> MetricsSnapshot:
    """One process's snapshot."""
    return MetricsSnapshot(model, FleetState(state, live=1), seen, versions=VERSIONS, **more)


def named(model: WatchedModel, version: str) -> WatchedModel:
    """The same model under another version, which must be of 12 letters at most."""
    return replace(model, checkpoint=version)


def samples(text: str) -> Samples:
    """Every sample of an exposition; none may be there twice."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            key = (one.name, frozenset(one.labels.items()))
            assert key not in found, f"twice: {one}"
            found[key] = one.value
    return found


def series(found: Samples, name: str, **labels: str) -> dict[frozenset[tuple[str, str]], float]:
    """Samples of ``gatescope_name`` with these labels among theirs, by their labels."""
    return {
        own: value
        for (full, own), value in found.items()
        if full == f"gatescope_{name}" and own >= frozenset(labels.items())
    }


def value(found: Samples, name: str, **labels: str) -> float:
    """Of the only such sample."""
    [only] = series(found, name, **labels).values()
    return only
