"""Each alert is seen firing and resolving in a real Prometheus that scrapes a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from gatescope.runtime.monitor.alerting.rules import Timing, alert_rules
from gatescope.runtime.monitor.metrics.server import MetricsServer
from gatescope.runtime.monitor.metrics.state import MetricsSnapshot

from .prometheus import INTERVAL, Prometheus, free_port, needs_prometheus
from .subjects import SLICE, SUBJECT, broken, calm

RULES = alert_rules(SUBJECT, Timing(over="4s", absent="1s", interval=INTERVAL))
NAMES = {rule["alert"] for rule in json.loads(RULES)["groups"][0]["rules"]}


@needs_prometheus
@pytest.mark.slow
def test_each_alert_fires_and_resolves(tmp_path: Path) -> None:
    port = free_port()
    serving: list[Callable[[], MetricsSnapshot]] = [calm]
    wrong = count(5, 5)

    with Prometheus(tmp_path, port, RULES) as prometheus:

        def names() -> set[str]:
            return {one["labels"]["alertname"] for one in prometheus.firing()}

        prometheus.until(lambda: names() == {"GatescopeDown"}, "only the exporter is gone")
        with MetricsServer(lambda: serving[-1](), port):
            prometheus.until(lambda: names() == set(), "the exporter is back and all is calm")
            counted = f'count_over_time(gatescope_log_errors_total{{model="{SUBJECT.model}"}}[4s]) >= 3'
            prometheus.until(lambda: prometheus.query(counted), "counters are seen before they rise")
            serving.append(lambda: broken(wrong=next(wrong)))
            prometheus.until(lambda: names() == NAMES - {"GatescopeDown"}, "everything fires")
            alerts = prometheus.firing()
            # What went wrong before stays counted, and is no news any more.
            last = next(wrong)
            serving.append(lambda: calm(wrong=last))
            prometheus.until(lambda: names() == set(), "everything is resolved")
        prometheus.until(lambda: names() == {"GatescopeDown"}, "the exporter is gone again")
    assert {one["labels"]["model"] for one in alerts} == {SUBJECT.model}
    for one in alerts:
        assert SUBJECT.model in one["annotations"]["description"]
        assert "{{" not in one["annotations"]["summary"].replace(SLICE, "")
    of_slice = [one for one in alerts if one["labels"].get("slice") == SLICE]
    assert {one["labels"]["alertname"] for one in of_slice} >= {"GateDrift", "GateNaN", "SliceMissing"}
    assert all(f"in slice {SLICE}" in one["annotations"]["summary"] for one in of_slice)
    in_all = [one for one in alerts if one["labels"]["alertname"] == "GateDrift" and one not in of_slice]
    assert [one["annotations"]["summary"] for one in in_all] == [
        "gate distribution has shifted in all traffic"
    ]
