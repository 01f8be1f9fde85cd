"""Prometheus alert rules for one model, and the unit tests of these rules for ``promtool``.

Both are written as JSON, which is YAML too. Detection happens in the watcher, whose thresholds carry the
baseline's own error; the rules say what is firing, and watch over what the watcher cannot say: that traffic,
the log or the monitor itself is gone.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from ..baseline.baseline import Baseline
from ..detectors import DETECTORS
from ..metrics import definitions as m

# Filled in by Prometheus, so that no text of a model or a slice is read as a template.
_MODEL = "{{ $labels.model }}"
_WHERE = "{{ with $labels.slice }}slice {{ . }}{{ else }}all traffic{{ end }}"
RULES_FILE, TESTS_FILE = "gatescope-alerts.yml", "gatescope-alerts-test.yml"


@dataclass(frozen=True)
class AlertSubject:
    """``model``: its version, the label of its metrics. ``gates``: (kind, layer) of every row.

    ``windows``: sizes in videos, the smallest first. ``stale_seconds``: after how long traffic is stale.
    """

    model: str
    family: str
    gates: tuple[tuple[str, int], ...]
    windows: tuple[int, ...]
    stale_seconds: float = 300.0

    @classmethod
    def of(cls, baseline: Baseline, stale_seconds: float = 300.0) -> AlertSubject:
        """For the model of ``baseline``."""
        return cls(
            baseline.model.version,
            baseline.model.family,
            tuple((row.kind, row.layer) for row in baseline.layout.rows),
            baseline.windows,
            stale_seconds,
        )


@dataclass(frozen=True)
class Timing:
    """How long things may take: shorter in tests. ``over``: counters are looked at over this long.

    ``absent``: after how long without any metrics the exporter is gone. ``interval``: between evaluations.
    """

    over: str = "10m"
    absent: str = "5m"
    interval: str = "15s"


@dataclass(frozen=True)
class _Rule:
    """One alert; ``calm`` and ``broken``: values of ``series``, one a minute, without and with the fault."""

    name: str
    expression: str
    severity: str
    summary: str
    description: str
    series: str
    calm: str
    broken: str
    labels: dict[str, str]
    wait: str = "0s"


def alert_rules(subject: AlertSubject, timing: Timing | None = None) -> str:
    """The rule file: ``promtool check rules`` accepts it."""
    timing = timing or Timing()
    group = {
        "name": f"gatescope-{subject.model}",
        "interval": timing.interval,
        "rules": [
            {
                "alert": rule.name,
                "expr": rule.expression,
                "for": rule.wait,
                "labels": {"severity": rule.severity},
                "annotations": {"summary": rule.summary, "description": rule.description},
            }
            for rule in _rules(subject, timing)
        ],
    }
    return json.dumps({"groups": [group]}, indent=2, ensure_ascii=False) + "\n"


def alert_rules_test(subject: AlertSubject, rules_file: str = RULES_FILE) -> str:
    """Tests for ``promtool test rules``, in which every alert of :func:`alert_rules` fires and resolves.

    The rules must have been made with the usual timing; ``rules_file`` is where they are.
    """
    tests = [_test(rule, subject) for rule in _rules(subject, Timing())]
    document = {"rule_files": [rules_file], "evaluation_interval": "1m", "tests": tests}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _rules(subject: AlertSubject, timing: Timing) -> list[_Rule]:
    model = subject.model
    rules = [
        _Rule(
            detector.alert.name,
            f"{m.ALARM_FIRING.select(model=model, kind=kind)} == 1",
            detector.alert.severity,
            f"{detector.meaning} in {_WHERE}",
            f"The {kind} detector of model {_MODEL} fires in {_WHERE}. {detector.alert.first_step}",
            m.ALARM_FIRING.select(model=model, slice="", kind=kind),
            "0",
            "1",
            {"model": model, "kind": kind},
        )
        for kind, detector in DETECTORS.items()
        if detector.alert is not None
    ]
    last = m.LAST_INFERENCE.select(model=model)
    rules.append(
        _Rule(
            "TrafficStale",
            f"time() - {last} > {subject.stale_seconds:g} and {last} > 0",
            "critical",
            f"no inference for more than {subject.stale_seconds:g} s",
            f"The services of model {_MODEL} have answered nothing for more than"
            f" {subject.stale_seconds:g} s. Check that they are up and receiving requests.",
            last,
            "",
            "",
            {"model": model},
        )
    )
    for name, counter, severity, what, first in (
        (
            "GateLogLoss",
            m.LOST,
            "warning",
            "videos were not written to the gate log",
            "Check whether the disk is full.",
        ),
        (
            "GateLogErrors",
            m.LOG_ERRORS,
            "warning",
            "writing the gate log fails",
            "Check the disk and the service's log.",
        ),
        (
            "GateQueueFull",
            m.DROPPED,
            "warning",
            "videos were not monitored: the queue was full",
            "Check the service's load.",
        ),
        (
            "MonitorFaults",
            m.FAULTS,
            "warning",
            "the monitor itself has faults; inference is not affected",
            "Check the service's log.",
        ),
        (
            "AlarmUndelivered",
            m.DELIVERIES_FAILED,
            "critical",
            "alarms could not be delivered",
            "Run the alarm command by hand to see why.",
        ),
    ):
        series = counter.metric.select(model=model)
        rules.append(
            _Rule(
                name,
                f"increase({series}[{timing.over}]) > 0",
                severity,
                what,
                f"Model {_MODEL}: {what}. {first}",
                series,
                "+0",
                "+5",
                {"model": model},
            )
        )
    build = m.BUILD_INFO.select(model=model)
    rules.append(
        _Rule(
            "GatescopeDown",
            f"absent({build})",
            "critical",
            "gates are not being monitored",
            f"Prometheus gets no metrics for model {_MODEL}. Check that the service or"
            " 'gatescope monitor watch' is running.",
            build,
            "1",
            "_",
            {"model": model},
            wait=timing.absent,
        )
    )
    return rules


def _test(rule: _Rule, subject: AlertSubject) -> dict[str, Any]:
    """Ten minutes calm, ten with the fault, then calm again for an hour."""
    if rule.name == "TrafficStale":
        # Time begins at 0 in these tests: an inference each minute until the tenth, then none, then again.
        back = 16 + math.ceil(subject.stale_seconds / 60)
        values = f"0+60x10 600x{back - 12} {60 * back}+60x20"
        broken, again = f"{back - 1}m", f"{back + 5}m"
    elif rule.calm.startswith("+"):
        values, broken, again = f"0{rule.calm}x10 5{rule.broken}x9 50+0x60", "18m", "70m"
    else:
        # Prometheus takes a series for gone five minutes after its last sample.
        values, broken, again = f"{rule.calm}x10 {rule.broken}x20 {rule.calm}x60", "27m", "45m"
    labels = {**rule.labels, "severity": rule.severity}

    def filled(text: str) -> str:
        return text.replace(_WHERE, "all traffic").replace(_MODEL, rule.labels["model"])

    told = {
        "exp_labels": labels,
        "exp_annotations": {"summary": filled(rule.summary), "description": filled(rule.description)},
    }

    def at(time: str, alerts: list[dict[str, Any]]) -> dict[str, Any]:
        return {"eval_time": time, "alertname": rule.name, "exp_alerts": alerts}

    return {
        "name": f"{rule.name} fires and resolves",
        "interval": "1m",
        "input_series": [{"series": rule.series, "values": values}],
        "alert_rule_test": [at("5m", []), at(broken, [told]), at(again, [])],
    }
