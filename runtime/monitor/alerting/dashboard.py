"""A Grafana dashboard for one model: whether all is well, and if not, what, where and since when."""

from __future__ import annotations

import json
import re
from typing import Any

from ..metrics import definitions as m
from .panels import SOURCE, Panel, heatmap, increase, note, placed, rate, series, shown, stat
from .rules import AlertSubject

DASHBOARD_FILE = "gatescope-dashboard.json"

_HOW_TO_READ = """\
**How to read this.** The top row shows whether anything is wrong now, and the likely cause. Below, each
detector's *excess* is its distance from the baseline over its threshold: at 1 the
threshold is reached, and at 2 one window is enough for an alarm. Small windows detect a broken pipeline soon,
large ones a small change. Gates near
zero keep the audio out: some videos are legitimately silent, and their share is what is watched. Example ids
of an alarm, and the log segments that hold them, are in `alarms.jsonl` in the gate log's folder.
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
    since = f"time() - {shown(m.LAST_INFERENCE)}"
    return [
        stat("Alarms firing", ("", f"sum({shown(m.ALARM_FIRING)})"), red_from=1),
        stat("Likely cause", ("{{diagnosis}}", shown(m.ALARM_DIAGNOSIS)), text="name"),
        stat("Since the last inference", ("", since), unit="s", red_from=subject.stale_seconds),
        stat("Videos per second", ("", f"sum({rate(m.VIDEOS)})")),
    ]


def _alarms() -> list[Panel]:
    largest = f"max by (kind, window) ({shown(m.DETECTOR_EXCESS, slice='')})"
    return [
        series("Alarms firing", ("{{kind}} {{slice}}", f"{shown(m.ALARM_FIRING)} > 0")),
        series(
            "Largest excess of each detector (1 is the threshold)", ("{{kind}}, window {{window}}", largest)
        ),
    ]


def _drift(window: int) -> Panel:
    which = {"slice": "", "kind": "drift", "window": str(window)}
    return series(
        f"Drift, window of {window}: distance and threshold",
        (_ROW, shown(m.DETECTOR_VALUE, **which)),
        (f"threshold {_ROW}", shown(m.DETECTOR_THRESHOLD, **which)),
        dashed="threshold.*",
    )


def _levels(window: int) -> list[Panel]:
    level = shown(m.DETECTOR_VALUE, slice="", kind="level", window=str(window))
    of_all = rate(m.GATE_VALUES)
    return [
        series(f"Mean gate, window of {window}", (_ROW, level)),
        series(
            "Share of gates near zero, and saturated",
            (f"near zero {_ROW}", f"{rate(m.GATE_NEAR_ZERO_VALUES)} / {of_all}"),
            (f"saturated {_ROW}", f"{rate(m.GATE_SATURATED_VALUES)} / {of_all}"),
            unit="percentunit",
        ),
    ]


def _distributions(subject: AlertSubject) -> list[tuple[int, list[Panel]]]:
    """Two gates side by side."""
    panels = [
        heatmap(
            f"{kind} gate of layer {layer}",
            f"sum by (le) ({increase(m.GATE_VALUE, gate=kind, layer=str(layer))})",
        )
        for kind, layer in subject.gates
    ]
    return [(7, panels[start : start + 2]) for start in range(0, len(panels), 2)]


def _slices() -> list[Panel]:
    excess = f"max by (slice, kind) ({shown(m.DETECTOR_EXCESS, not_slice='')})"
    return [
        series("Videos per second, by slice", ("slice {{slice}}", rate(m.VIDEOS))),
        series("Excess by slice", ("{{slice}}: {{kind}}", excess)),
        series(
            "NaN and infinite gates",
            (f"NaN {_ROW}", increase(m.GATE_NAN_VALUES)),
            (f"infinite {_ROW}", increase(m.GATE_INFINITE_VALUES)),
        ),
    ]


def _health() -> list[Panel]:
    waiting = f"{shown(m.ACKNOWLEDGED.metric)} - {shown(m.DURABLE.metric)}"
    inline = f"{rate(m.OVERHEAD_SECONDS, kind='request')} / ignoring(kind) {rate(m.REQUESTS.metric)}"
    return [
        series("Log: videos not yet on disk", ("", waiting)),
        series(
            "Losses, drops, faults",
            ("log lost", increase(m.LOST.metric)),
            ("log errors", increase(m.LOG_ERRORS.metric)),
            ("dropped", increase(m.DROPPED.metric)),
            ("monitor faults", increase(m.FAULTS.metric)),
            ("alarms undelivered", increase(m.DELIVERIES_FAILED.metric)),
        ),
        series(
            "The monitor's own time, and workers",
            ("added to a request (s)", inline),
            ("background CPU per second (s)", rate(m.OVERHEAD_SECONDS, kind="background")),
            ("workers alive", shown(m.WORKERS)),
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
            "query": f"label_values({m.BUILD_INFO.family}, model)",
            "current": {"text": subject.model, "value": subject.model},
            "refresh": 1,
        },
    ]
