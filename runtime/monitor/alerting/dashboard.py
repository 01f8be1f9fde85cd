"""A Grafana dashboard for one model: whether all is well, and if not, what, where and since when."""

from __future__ import annotations

import json
import re
from typing import Any

from .panels import SOURCE, Panel, heatmap, increase, metric, note, placed, rate, series, stat
from .subject import AlertSubject

DASHBOARD_FILE = "gatescope-dashboard.json"

_HOW_TO_READ = """\
**How to read this.** The top row says whether anything is wrong now, and what it looks like. Below, each
detector's *excess* is its distance from the baseline over its threshold: from 1 on it is beyond, and at 2 one
window is enough for an alarm. Small windows see a broken pipeline soon, large ones a small change. Gates near
zero keep the audio out: some videos are legitimately silent, and their share is what is watched. Example ids
of an alarm, and the log segments that hold them, are in `alarms.jsonl` beside the gate log.
"""
_ROW = "{{gate}}.{{layer}}"


def dashboard(subject: AlertSubject) -> str:
    """The dashboard as JSON, to be imported in Grafana 9 or later."""
    document = {
        # Grafana takes letters and digits alone.
        "uid": "gatescope-" + re.sub("[^a-zA-Z0-9]", "-", subject.model),
        "title": f"gatescope: gates of {subject.family} {subject.model}",
        "tags": ["gatescope"],
        "timezone": "",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": _variables(subject)},
        "panels": placed(
            [
                (4, _now(subject)),
                (4, [note(_HOW_TO_READ)]),
                (8, _alarms()),
                (8, [_drift(window) for window in dict.fromkeys([subject.windows[0], subject.windows[-1]])]),
                (8, _levels(subject.windows[0])),
                *_distributions(subject),
                (7, _slices()),
                (7, _health()),
            ]
        ),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _now(subject: AlertSubject) -> list[Panel]:
    since = f"time() - {metric('last_inference_timestamp_seconds')}"
    return [
        stat("Alarms firing", ("", f"sum({metric('alarm_firing')})"), red_from=1),
        stat("What it looks like", ("{{diagnosis}}", metric("alarm_diagnosis")), text="name"),
        stat("Since the last inference", ("", since), unit="s", red_from=subject.stale_seconds),
        stat("Videos a second", ("", f"sum({rate('videos_total')})")),
    ]


def _alarms() -> list[Panel]:
    largest = f"max by (kind, window) ({metric('detector_excess', slice='')})"
    return [
        series("Alarms firing", ("{{kind}} {{slice}}", f"{metric('alarm_firing')} > 0")),
        series(
            "Largest excess of each detector (1 is the threshold)", ("{{kind}}, window {{window}}", largest)
        ),
    ]


def _drift(window: int) -> Panel:
    which = {"slice": "", "kind": "drift", "window": str(window)}
    return series(
        f"Drift, window of {window}: distance and threshold",
        (_ROW, metric("detector_value", **which)),
        (f"threshold {_ROW}", metric("detector_threshold", **which)),
        dashed="threshold.*",
    )


def _levels(window: int) -> list[Panel]:
    level = metric("detector_value", slice="", kind="level", window=str(window))
    of_all = rate("gate_values_total")
    return [
        series(f"Mean gate, window of {window}", (_ROW, level)),
        series(
            "Share of gates near zero, and saturated",
            (f"near zero {_ROW}", f"{rate('gate_near_zero_values_total')} / {of_all}"),
            (f"saturated {_ROW}", f"{rate('gate_saturated_values_total')} / {of_all}"),
            unit="percentunit",
        ),
    ]


def _distributions(subject: AlertSubject) -> list[tuple[int, list[Panel]]]:
    """Two gates side by side."""
    panels = [
        heatmap(
            f"{kind} gate of layer {layer}",
            f"sum by (le) ({increase('gate_value_bucket', gate=kind, layer=str(layer))})",
        )
        for kind, layer in subject.gates
    ]
    return [(7, panels[start : start + 2]) for start in range(0, len(panels), 2)]


def _slices() -> list[Panel]:
    excess = f"max by (slice, kind) ({metric('detector_excess', not_slice='')})"
    return [
        series("Videos a second by slice", ("slice {{slice}}", rate("videos_total"))),
        series("Excess by slice", ("{{slice}}: {{kind}}", excess)),
        series(
            "Gates that are no finite numbers",
            (f"NaN {_ROW}", increase("gate_nan_values_total")),
            (f"infinite {_ROW}", increase("gate_infinite_values_total")),
        ),
    ]


def _health() -> list[Panel]:
    waiting = f"{metric('log_acknowledged_videos_total')} - {metric('log_durable_videos_total')}"
    inline = f"{rate('overhead_seconds_total', kind='request')} / ignoring(kind) {rate('requests_total')}"
    return [
        series("Log: videos not durable yet", ("", waiting)),
        series(
            "Losses, drops, faults",
            ("log lost", increase("log_lost_videos_total")),
            ("log errors", increase("log_errors_total")),
            ("dropped", increase("dropped_videos_total")),
            ("monitor faults", increase("monitor_faults_total")),
            ("alarms undelivered", increase("alarm_delivery_failures_total")),
        ),
        series(
            "The monitor's own time, and workers",
            ("a request, on its way (s)", inline),
            ("CPU behind requests, a second (s)", rate("overhead_seconds_total", kind="background")),
            ("workers alive", metric("workers")),
        ),
    ]


def _variables(subject: AlertSubject) -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {
            "name": "model",
            "label": "Model",
            "type": "query",
            "datasource": SOURCE,
            "query": "label_values(gatescope_build_info, model)",
            "current": {"text": subject.model, "value": subject.model},
            "refresh": 1,
        },
    ]
