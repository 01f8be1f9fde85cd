"""One moment as Prometheus metrics.

Labels are few and bounded: ``model``, ``layer``, ``gate``, ``slice``, ``window``, ``kind``, ``diagnosis``.
Never an id, never a channel. Gates are negative as well as positive, so their histogram has no ``_sum``; the
sums of positive and of negative values are counters of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from ...errors import MissingExtraError
from ..alarm import ALARM_KINDS, AlarmKind, WindowReading
from ..counting.layout import COUNTED_BINS
from .snapshot import Detection, MetricsSnapshot
from .state import FLEET_COUNTERS

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
    from prometheus_client.utils import floatToGoString
except ModuleNotFoundError as error:
    raise MissingExtraError("prometheus_client", "monitor") from error

# Of the 64 bins so many are one bucket: 16 buckets, whose edges are edges of bins.
_BINS_A_BUCKET = 4
# Counters of values, and what a Prometheus user should call them.
_VALUES = {
    "nan": "gatescope_gate_nan_values",
    "infinite": "gatescope_gate_infinite_values",
    "rails": "gatescope_gate_rail_values",
    "saturated": "gatescope_gate_saturated_values",
    "near_zero": "gatescope_gate_near_zero_values",
}
_VIDEOS = {"constant": "constant", "collapsed": "collapse", "saturating": "saturation"}
_WORKER = {
    "requests": ("gatescope_requests", "Requests that were watched"),
    "dropped": ("gatescope_dropped_videos", "Videos not counted because the queue was full"),
    "deliveries_failed": ("gatescope_alarm_delivery_failures", "Alarms that could not be delivered"),
    "faults": ("gatescope_monitor_faults", "Faults of the monitor itself; inference was not touched"),
    "acknowledged": ("gatescope_log_acknowledged_videos", "Videos written to the gate log"),
    "durable": ("gatescope_log_durable_videos", "Videos of the log that are forced to the disk"),
    "at_risk": ("gatescope_log_at_risk_videos", "Videos in log segments whose sync failed"),
    "lost": ("gatescope_log_lost_videos", "Videos that could not be written to the log"),
    "log_errors": ("gatescope_log_errors", "Failures of the disk under the log"),
    "log_bytes": ("gatescope_log_written_bytes", "Bytes written to the log"),
}


class GateCollector(Collector):
    """Collects what ``snapshot()`` gives at each scrape."""

    def __init__(self, snapshot: Callable[[], MetricsSnapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        """Nothing is asked before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics of this moment."""
        now = self._snapshot()
        yield from _build(now)
        yield from _gates(now)
        yield from _workers(now)
        if now.detection is not None:
            yield from _detectors(now, now.detection)
            yield from _alarms(now, now.detection)


def _build(now: MetricsSnapshot) -> Iterator[Metric]:
    names = ["model", "family", "gating", *now.versions]
    info = GaugeMetricFamily("gatescope_build_info", "The model that is watched, and versions", labels=names)
    info.add_metric([now.model.version, now.model.family, now.model.gating, *now.versions.values()], 1)
    yield info


def _gates(now: MetricsSnapshot) -> Iterator[Metric]:
    model, layout, totals = now.model.version, now.model.layout, now.fleet.state.totals
    labels = ["model", "gate", "layer"]
    rows = [[model, row.kind, str(row.layer)] for row in layout.rows]
    histogram = HistogramMetricFamily("gatescope_gate_value", "Gates of all valid clips", labels=labels)
    # A cumulative histogram: what lies below the range is in the first bucket, what lies above in +Inf alone,
    # what lies at an edge inside the range in the bucket above it.
    cumulative = np.cumsum(totals.places, axis=1)
    for own, edges, counts in zip(rows, layout.edges, cumulative, strict=True):
        ends = range(_BINS_A_BUCKET, COUNTED_BINS + 1, _BINS_A_BUCKET)
        buckets = [(floatToGoString(f"{edges[end]:.6g}"), float(counts[end])) for end in ends]
        histogram.add_metric(own, [*buckets, ("+Inf", float(counts[-1]))], sum_value=None)
    yield histogram
    for name, text, values in (
        ("gatescope_gate_positive_sum", "Sum of the gates above zero", totals.positive),
        (
            "gatescope_gate_negative_sum",
            "Sum of the gates below zero, without its sign",
            abs(totals.negative),
        ),
        ("gatescope_gate_values", "Gates that are finite numbers", totals.count),
    ):
        yield _counter(name, text, labels, zip(rows, values.tolist(), strict=True))
    for counter, name in _VALUES.items():
        values = totals.counter(counter).tolist()
        yield _counter(name, f"Gates that are: {counter}", labels, zip(rows, values, strict=True))
    yield _counter(
        "gatescope_gate_videos",
        "Videos whose gates as a whole are constant over their clips, at zero, or mostly saturated",
        [*labels, "kind"],
        (
            ([*own, kind], value)
            for counter, kind in _VIDEOS.items()
            for own, value in zip(rows, totals.counter(counter).tolist(), strict=True)
        ),
    )


def _workers(now: MetricsSnapshot) -> Iterator[Metric]:
    model, state = now.model.version, now.fleet.state
    yield _counter(
        "gatescope_videos",
        "Videos that were watched",
        ["model", "slice"],
        # Those without a slice are there from the beginning: a series that comes and goes has no rate.
        (([model, name], count) for name, count in sorted({"": 0, **state.slices}.items())),
    )
    extra = {"deliveries_failed": now.deliveries_failed, "faults": now.faults}
    for counter, (name, text) in _WORKER.items():
        yield _counter(name, text, ["model"], [([model], state.counters[counter] + extra.get(counter, 0))])
    yield _counter(
        "gatescope_overhead_seconds",
        f"Time of the monitor: {FLEET_COUNTERS['request_seconds']}, and "
        f"{FLEET_COUNTERS['background_seconds']}",
        ["model", "kind"],
        [
            ([model, "request"], state.counters["request_seconds"]),
            ([model, "background"], state.counters["background_seconds"]),
        ],
    )
    for name, text, value in (
        (
            "gatescope_last_inference_timestamp_seconds",
            "When the last request was answered",
            state.last_inference,
        ),
        ("gatescope_workers", "Processes that are watched and alive", now.fleet.live),
        ("gatescope_state_files_damaged", "State files of processes that cannot be read", now.fleet.damaged),
    ):
        yield _gauge(name, text, ["model"], [([model], value)])


def _detectors(now: MetricsSnapshot, seen: Detection) -> Iterator[Metric]:
    model = now.model.version
    labels = ["model", "slice", "kind", "gate", "layer", "window"]
    readings = [("", one) for one in seen.readings.get("", ())]
    readings += [(name, one) for name, own in seen.readings.items() if name for one in _worst_of_each(own)]

    def place(slice_: str, one: WindowReading) -> list[str]:
        layer = "" if one.layer is None else str(one.layer)
        return [model, slice_, one.kind, one.gate, layer, str(one.window)]

    for name, text in (
        ("value", "What the detector reads off its window"),
        ("baseline", "What it is in the baseline"),
        ("threshold", "Beyond what it fires"),
        ("excess", "Distance from the baseline over the threshold's; it fires from 1 on"),
    ):
        values = [(place(slice_, one), float(getattr(one, name))) for slice_, one in readings]
        yield _gauge(f"gatescope_detector_{name}", text, labels, values)
    yield _gauge(
        "gatescope_window_videos",
        "Different videos in the windows of a stream",
        ["model", "slice"],
        [([model, name], count) for name, count in seen.filled.items()],
    )
    yield _counter("gatescope_watched_videos", "Videos the watcher saw", ["model"], [([model], seen.watched)])
    yield _gauge("gatescope_baseline_videos", "Of the baseline", ["model"], [([model], seen.baseline_videos)])
    yield _gauge(
        "gatescope_false_alarm_target",
        "In how many windows without drift, as a share, anything may be beyond its threshold",
        ["model"],
        [([model], seen.false_alarms)],
    )


def _alarms(now: MetricsSnapshot, seen: Detection) -> Iterator[Metric]:
    model = now.model.version
    firing: dict[tuple[str, AlarmKind], int] = {
        (name, kind): 0
        for name in ("", *seen.slices)
        for kind in ALARM_KINDS
        if not name or kind not in ("stale", "loss")
    }
    for alarm in seen.firing:
        firing.update({(alarm.slice, kind): 1 for kind in alarm.kinds})
    yield _gauge(
        "gatescope_alarm_firing",
        "1 while an alarm of this kind is not resolved",
        ["model", "slice", "kind"],
        [([model, name, kind], value) for (name, kind), value in firing.items()],
    )
    named = {(alarm.slice, alarm.diagnosis.label) for alarm in seen.firing}
    yield _gauge(
        "gatescope_alarm_diagnosis",
        "1 for what an alarm that is not resolved looks like",
        ["model", "slice", "diagnosis"],
        [([model, name, label], 1) for name, label in sorted(named)],
    )
    yield _counter(
        "gatescope_alarms",
        "Alarms that began",
        ["model", "kind"],
        [([model, kind], seen.raised.get(kind, 0)) for kind in ALARM_KINDS],
    )


def _worst_of_each(readings: Sequence[WindowReading]) -> list[WindowReading]:
    """Of each detector and window the row nearest to its threshold: slices have no series for every row."""
    worst: dict[tuple[AlarmKind, int], WindowReading] = {}
    for one in readings:
        before = worst.get((one.kind, one.window))
        if before is None or one.excess > before.excess:
            worst[one.kind, one.window] = one
    # Which row it is changes from one scrape to the next and must not make a new series each time.
    return [
        WindowReading(
            one.kind, "", None, one.window, one.value, one.baseline, one.threshold, one.effect, one.excess
        )
        for one in worst.values()
    ]


def _counter(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=list(labels))
    for own, value in values:
        family.add_metric(list(own), value)
    return family


def _gauge(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=list(labels))
    for own, value in values:
        family.add_metric(list(own), value)
    return family
