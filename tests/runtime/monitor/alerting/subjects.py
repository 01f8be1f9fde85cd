"""Models to make rules and dashboards for, and snapshots of them while all is well and while nothing is."""

from __future__ import annotations

import time
from dataclasses import replace

from gatescope.runtime.monitor.alerting.rules import AlertSubject
from gatescope.runtime.monitor.detectors import DETECTORS
from gatescope.runtime.monitor.metrics.definitions import SERVICE_COUNTERS
from gatescope.runtime.monitor.metrics.state import MetricsSnapshot

from ..metrics.snapshots import MODEL, alarm, all_readings, detection, gates, snapshot_of, state_of

SLICE = 'a "slice" \\ of {{ $labels }} é'
SUBJECT = AlertSubject(
    MODEL.version, MODEL.family, tuple((kind, layer) for kind, layer, *_ in MODEL.gates), (25, 200), 30.0
)
#: Counters that rise when something goes wrong.
WRONG = ("lost", "log_errors", "dropped", "faults", "deliveries_failed")


def hostile(text: str) -> AlertSubject:
    """For a model that is called so."""
    return replace(SUBJECT, model=text, family=text)


def calm(videos: int = 10, wrong: int = 0) -> MetricsSnapshot:
    """After so many videos, nothing fires; ``wrong``: of everything that went wrong before, so much."""
    return _snapshot(videos, wrong, broken=False)


def broken(videos: int = 10, wrong: int = 5) -> MetricsSnapshot:
    """Every detector fires, in all traffic and in a slice; the last inference was a minute ago."""
    return _snapshot(videos, wrong, broken=True)


def _snapshot(videos: int, wrong: int, *, broken: bool) -> MetricsSnapshot:
    counters = {name: float(videos) for name in SERVICE_COUNTERS} | {name: float(wrong) for name in WRONG}
    state = state_of(gates(videos), {"": videos, SLICE: videos}, **counters)
    state.last_inference = time.time() - (60 if broken else 0)
    of_slice = tuple(kind for kind in DETECTORS if kind not in ("stale", "loss"))
    readings = all_readings() + [replace(one, window=200) for one in all_readings()]
    seen = detection(
        [alarm(tuple(DETECTORS)), alarm(of_slice, SLICE, "unknown")] if broken else [],
        {"": readings, SLICE: readings},
        slices=(SLICE,),
        filled={"": 25, SLICE: 25},
    )
    return snapshot_of(state, seen)
