"""One moment as Prometheus metrics, whose names, help and labels are in ``definitions``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from ...errors import MissingExtraError
from ..alarm import AlarmKind, WindowReading
from ..counting.layout import COUNTED_BINS
from ..detectors import DETECTORS, FLAGS
from . import definitions as m
from .state import Detection, MetricsSnapshot

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
_BINS_PER_BUCKET = 4


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
    of = {"model": now.model.version, "family": now.model.family, "gating": now.model.gating, **now.versions}
    info = GaugeMetricFamily(m.BUILD_INFO.family, m.BUILD_INFO.help, labels=list(of))
    info.add_metric(list(of.values()), 1)
    yield info


def _gates(now: MetricsSnapshot) -> Iterator[Metric]:
    layout, totals = now.model.layout, now.fleet.state.totals
    rows = [(row.kind, str(row.layer)) for row in layout.rows]
    yield _histogram(now)
    for metric, values in (
        (m.GATE_POSITIVE_SUM, totals.positive),
        (m.GATE_NEGATIVE_SUM, abs(totals.negative)),
        (m.GATE_VALUES, totals.count),
        *((metric, totals.counter(counter)) for counter, metric in m.VALUE_COUNTERS.items()),
    ):
        yield _family(now, metric, zip(rows, values.tolist(), strict=True))
    yield _family(
        now,
        m.GATE_VIDEOS,
        (
            ((*row, kind), value)
            for kind, flag in FLAGS.items()
            if flag.counter
            for row, value in zip(rows, totals.counter(flag.counter).tolist(), strict=True)
        ),
    )


def _histogram(now: MetricsSnapshot) -> Metric:
    """Cumulative: what lies below the range is in the first bucket, what lies above in +Inf alone, what lies
    at an edge inside the range in the bucket above it."""
    metric, layout = m.GATE_VALUE, now.model.layout
    family = HistogramMetricFamily(metric.family, metric.help, labels=list(metric.labels))
    cumulative = np.cumsum(now.fleet.state.totals.places, axis=1)
    for row, edges, counts in zip(layout.rows, layout.edges, cumulative, strict=True):
        ends = range(_BINS_PER_BUCKET, COUNTED_BINS + 1, _BINS_PER_BUCKET)
        buckets = [(floatToGoString(f"{edges[end]:.6g}"), float(counts[end])) for end in ends]
        own = [now.model.version, row.kind, str(row.layer)]
        family.add_metric(own, [*buckets, ("+Inf", float(counts[-1]))], sum_value=None)
    return family


def _workers(now: MetricsSnapshot) -> Iterator[Metric]:
    state = now.fleet.state
    # Those without a slice are there from the beginning: a series that comes and goes has no rate.
    slices = sorted({"": 0, **state.slices}.items())
    yield _family(now, m.VIDEOS, (((name,), count) for name, count in slices))
    here = {m.DELIVERIES_FAILED.key: now.deliveries_failed, m.FAULTS.key: now.faults}
    for metric, counters in groupby(m.SERVICE_COUNTERS.values(), lambda one: one.metric):
        yield _family(
            now,
            metric,
            (
                ((one.kind,) if one.kind else (), state.counters[one.key] + here.get(one.key, 0))
                for one in counters
            ),
        )
    for metric, value in (
        (m.LAST_INFERENCE, state.last_inference),
        (m.WORKERS, now.fleet.live),
        (m.STATE_FILES_DAMAGED, now.fleet.damaged),
    ):
        yield _family(now, metric, [((), value)])


def _detectors(now: MetricsSnapshot, seen: Detection) -> Iterator[Metric]:
    readings = [("", one) for one in seen.readings.get("", ())]
    readings += [(name, one) for name, own in seen.readings.items() if name for one in _worst_of_each(own)]
    places = [
        (slice_, one.kind, one.gate, "" if one.layer is None else str(one.layer), str(one.window))
        for slice_, one in readings
    ]
    for metric, values in (
        (m.DETECTOR_VALUE, [one.value for _, one in readings]),
        (m.DETECTOR_BASELINE, [one.baseline for _, one in readings]),
        (m.DETECTOR_THRESHOLD, [one.threshold for _, one in readings]),
        (m.DETECTOR_EXCESS, [one.excess for _, one in readings]),
    ):
        yield _family(now, metric, zip(places, map(float, values), strict=True))
    yield _family(now, m.WINDOW_VIDEOS, (((name,), count) for name, count in seen.filled.items()))
    for metric, value in (
        (m.WATCHED_VIDEOS, seen.watched),
        (m.BASELINE_VIDEOS, seen.baseline_videos),
        (m.FALSE_ALARM_TARGET, seen.false_alarms),
    ):
        yield _family(now, metric, [((), value)])


def _alarms(now: MetricsSnapshot, seen: Detection) -> Iterator[Metric]:
    firing: dict[tuple[str, AlarmKind], int] = {
        (name, kind): 0
        for name in ("", *seen.slices)
        for kind, detector in DETECTORS.items()
        if not name or detector.in_slices
    }
    for alarm in seen.firing:
        firing.update({(alarm.slice, kind): 1 for kind in alarm.kinds})
    yield _family(now, m.ALARM_FIRING, firing.items())
    named = {(alarm.slice, alarm.diagnosis.label) for alarm in seen.firing}
    yield _family(now, m.ALARM_DIAGNOSIS, ((place, 1) for place in sorted(named)))
    yield _family(now, m.ALARMS, (((kind,), seen.raised.get(kind, 0)) for kind in DETECTORS))


def _worst_of_each(readings: Sequence[WindowReading]) -> list[WindowReading]:
    """Of each detector and window the row nearest to its threshold: slices have no series for every row."""
    worst: dict[tuple[AlarmKind, int], WindowReading] = {}
    for one in readings:
        before = worst.get((one.kind, one.window))
        if before is None or one.excess > before.excess:
            worst[one.kind, one.window] = one
    # Which row it is changes from one scrape to the next and must not make a new series each time.
    return [replace(one, gate="", layer=None) for one in worst.values()]


def _family(
    now: MetricsSnapshot,
    metric: m.MetricDefinition,
    values: Iterable[tuple[Sequence[str], float]],
) -> Metric:
    """A counter or a gauge; ``values``: by the labels that follow ``model``."""
    of = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    family = of(metric.family, metric.help, labels=list(metric.labels))
    for labels, value in values:
        family.add_metric([now.model.version, *labels], value)
    return family
