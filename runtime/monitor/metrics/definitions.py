"""Every metric: its name, help and labels at one place, for the collector, alert rules, dashboard and tests.

Labels are few and bounded: ``model``, ``layer``, ``gate``, ``slice``, ``window``, ``kind``, ``diagnosis``.
Never an id, never a channel.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from ..detectors import DETECTORS


@dataclass(frozen=True)
class MetricDefinition:
    """One metric; ``name`` is without ``gatescope_`` before it and without what Prometheus adds after it."""

    type: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: tuple[str, ...] = ("model",)

    @property
    def family(self) -> str:
        """``gatescope_name``."""
        return f"gatescope_{self.name}"

    def select(self, **labels: str) -> str:
        """``gatescope_name{label="value", ...}`` in PromQL; a label ``not_x`` asks that ``x`` is unequal.

        Of a counter its ``_total``, of a histogram its ``_bucket``. Raises ``ValueError`` for a label that
        the metric does not have.
        """
        matchers: list[str] = []
        for label, value in labels.items():
            own = label.removeprefix("not_")
            if own not in self.labels:
                raise ValueError(f"{self.family} has no label {own!r}")
            # PromQL's strings escape as JSON's do.
            matchers.append(f"{own}{'=' if own == label else '!='}{json.dumps(value, ensure_ascii=False)}")
        suffix = {"counter": "_total", "gauge": "", "histogram": "_bucket"}[self.type]
        return f"{self.family}{suffix}{{{', '.join(matchers)}}}"


@dataclass(frozen=True)
class ServiceCounter:
    """What every process counts: ``key`` in its state file, and the metric that shows the sum of all.

    ``kind``: the value of the metric's label ``kind``, where it has one.
    """

    key: str
    metric: MetricDefinition
    kind: str = ""


def _counter(name: str, text: str, *labels: str) -> MetricDefinition:
    return MetricDefinition("counter", name, text, ("model", *labels))


def _gauge(name: str, text: str, *labels: str) -> MetricDefinition:
    return MetricDefinition("gauge", name, text, ("model", *labels))


_OF_ROW = ("gate", "layer")
_OF_READING = ("slice", "kind", "gate", "layer", "window")
_UNITS = "; ".join(f"{kind}: {one.unit}" for kind, one in DETECTORS.items() if one.measure is not None)

BUILD_INFO = _gauge("build_info", "The monitored model, and versions", "family", "gating")

# Gates are negative as well as positive, so their histogram has no ``_sum``; the sums of positive and of
# negative values are counters of their own.
GATE_VALUE = MetricDefinition("histogram", "gate_value", "Gates of all valid clips", ("model", *_OF_ROW))
GATE_POSITIVE_SUM = _counter("gate_positive_sum", "Sum of the gates above zero", *_OF_ROW)
GATE_NEGATIVE_SUM = _counter("gate_negative_sum", "Sum of the gates below zero, without its sign", *_OF_ROW)
GATE_VALUES = _counter("gate_values", "Gates that are finite numbers", *_OF_ROW)
GATE_NAN_VALUES = _counter("gate_nan_values", "Gates that are NaN", *_OF_ROW)
GATE_INFINITE_VALUES = _counter("gate_infinite_values", "Gates that are infinite", *_OF_ROW)
GATE_RAIL_VALUES = _counter("gate_rail_values", "Gates within 1e-3 of either end of their range", *_OF_ROW)
GATE_SATURATED_VALUES = _counter("gate_saturated_values", "Saturated gates", *_OF_ROW)
GATE_NEAR_ZERO_VALUES = _counter("gate_near_zero_values", "Gates near zero (below 0.05 in size)", *_OF_ROW)
#: By the counter of values (``VIDEO_COUNTERS``) that each shows.
VALUE_COUNTERS: dict[str, MetricDefinition] = {
    "nan": GATE_NAN_VALUES,
    "infinite": GATE_INFINITE_VALUES,
    "rails": GATE_RAIL_VALUES,
    "saturated": GATE_SATURATED_VALUES,
    "near_zero": GATE_NEAR_ZERO_VALUES,
}
GATE_VIDEOS = _counter(
    "gate_videos",
    "Videos whose gates as a whole are constant over their clips, at zero, or mostly saturated",
    *_OF_ROW,
    "kind",
)

VIDEOS = _counter("videos", "Videos that were monitored", "slice")
LAST_INFERENCE = _gauge("last_inference_timestamp_seconds", "When the last request was answered")
WORKERS = _gauge("workers", "Monitored processes that are alive")
STATE_FILES_DAMAGED = _gauge("state_files_damaged", "State files of processes that cannot be read")

REQUESTS = ServiceCounter("requests", _counter("requests", "Requests that were monitored"))
DROPPED = ServiceCounter(
    "dropped", _counter("dropped_videos", "Videos not counted because the queue was full")
)
FAULTS = ServiceCounter(
    "faults", _counter("monitor_faults", "Faults of the monitor itself; inference is not affected")
)
DELIVERIES_FAILED = ServiceCounter(
    "deliveries_failed", _counter("alarm_delivery_failures", "Alarms that could not be delivered")
)
ACKNOWLEDGED = ServiceCounter(
    "acknowledged", _counter("log_acknowledged_videos", "Videos written to the gate log")
)
DURABLE = ServiceCounter(
    "durable", _counter("log_durable_videos", "Videos of the log that were synced to the disk")
)
AT_RISK = ServiceCounter(
    "at_risk", _counter("log_at_risk_videos", "Videos in log segments whose sync failed")
)
LOST = ServiceCounter("lost", _counter("log_lost_videos", "Videos that could not be written to the log"))
LOG_ERRORS = ServiceCounter("log_errors", _counter("log_errors", "Failed writes or syncs of the log"))
LOG_BYTES = ServiceCounter("log_bytes", _counter("log_written_bytes", "Bytes written to the log"))
OVERHEAD_SECONDS = _counter(
    "overhead_seconds",
    "Time spent on monitoring: seconds added to requests, and seconds of CPU in the background",
    "kind",
)
REQUEST_SECONDS = ServiceCounter("request_seconds", OVERHEAD_SECONDS, "request")
BACKGROUND_SECONDS = ServiceCounter("background_seconds", OVERHEAD_SECONDS, "background")

#: By key. They add up over processes.
SERVICE_COUNTERS: dict[str, ServiceCounter] = {
    one.key: one
    for one in (
        *(REQUESTS, DROPPED, FAULTS, DELIVERIES_FAILED),
        *(ACKNOWLEDGED, DURABLE, AT_RISK, LOST, LOG_ERRORS, LOG_BYTES),
        *(REQUEST_SECONDS, BACKGROUND_SECONDS),
    )
}

DETECTOR_VALUE = _gauge(
    "detector_value", f"What the detector measures in its window ({_UNITS})", *_OF_READING
)
DETECTOR_BASELINE = _gauge("detector_baseline", "The same measure in the baseline", *_OF_READING)
DETECTOR_THRESHOLD = _gauge("detector_threshold", "The value at which the detector fires", *_OF_READING)
DETECTOR_EXCESS = _gauge(
    "detector_excess",
    "Distance from the baseline, divided by the threshold's; the detector fires at 1",
    *_OF_READING,
)
WINDOW_VIDEOS = _gauge("window_videos", "Different videos in a stream's windows", "slice")
WATCHED_VIDEOS = _counter("watched_videos", "Videos the watcher has seen")
BASELINE_VIDEOS = _gauge("baseline_videos", "Videos in the baseline")
FALSE_ALARM_TARGET = _gauge(
    "false_alarm_target",
    "The share of windows without drift in which a detector may fire",
)
ALARM_FIRING = _gauge("alarm_firing", "1 while an alarm of this kind is not resolved", "slice", "kind")
ALARM_DIAGNOSIS = _gauge(
    "alarm_diagnosis", "1 for the likely cause of an alarm that is not resolved", "slice", "diagnosis"
)
ALARMS = _counter("alarms", "Alarms that began", "kind")
