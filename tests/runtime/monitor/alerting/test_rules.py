"""Alert rules: Prometheus' own tool accepts them and sees each fire and resolve, whatever names they hold."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.runtime.cli.main import main
from gatescope.runtime.monitor.alerting.dashboard import DASHBOARD_FILE
from gatescope.runtime.monitor.alerting.rules import (
    RULES_FILE,
    TESTS_FILE,
    AlertSubject,
    Timing,
    alert_rules,
    alert_rules_test,
)
from gatescope.runtime.monitor.baseline.baseline import make_baseline
from gatescope.runtime.monitor.baseline.stored import save_baseline
from gatescope.runtime.monitor.baseline.videos import BaselineVideos
from gatescope.runtime.monitor.detectors import DETECTORS
from gatescope.runtime.monitor.metrics.server import exposition

from ....torture import population
from ..metrics.snapshots import samples
from .prometheus import PROMTOOL, needs_promtool
from .subjects import SUBJECT, broken, hostile

HOSTILE = ['a"b\\c\nd', "{{ $labels.x }} $model", "{{ a: #b '%s{}", "시 é 😀"]


def rules_of(text: str) -> list[dict[str, Any]]:
    [group] = json.loads(text)["groups"]
    return group["rules"]


def promtool(*arguments: str | Path) -> str:
    """What it prints; it must be content."""
    done = subprocess.run([str(PROMTOOL), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(folder: Path, subject: AlertSubject) -> None:
    """The rules of ``subject`` and their tests, as Prometheus reads them."""
    (folder / RULES_FILE).write_text(alert_rules(subject), encoding="utf-8")
    (folder / TESTS_FILE).write_text(alert_rules_test(subject), encoding="utf-8")
    count = len(rules_of(alert_rules(subject)))
    assert f"SUCCESS: {count} rules found" in promtool("check", "rules", folder / RULES_FILE)
    assert "SUCCESS" in promtool("test", "rules", folder / TESTS_FILE)


def test_every_alert_has_a_name_of_its_own_a_severity_and_words() -> None:
    rules = rules_of(alert_rules(SUBJECT))
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"] and rule["annotations"]["description"].endswith(".")


def test_every_detector_has_an_alert() -> None:
    expressions = " ".join(rule["expr"] for rule in rules_of(alert_rules(SUBJECT)))
    # Stale traffic and losses of the log have rules that do not need the watcher.
    told = set(re.findall(r'kind="([\w-]+)"', expressions))
    assert told == set(DETECTORS) - {"stale", "loss"}
    assert "last_inference_timestamp_seconds" in expressions and "log_lost_videos_total" in expressions


def test_rules_ask_for_metrics_and_labels_that_are_served() -> None:
    served = samples(exposition(broken()))
    for rule in rules_of(alert_rules(SUBJECT)):
        selectors = re.findall(r'(gatescope_\w+)\{model="(\w+)"(?:, kind="(\w+)")?\}', rule["expr"])
        assert selectors
        for name, model, kind in selectors:
            wanted = {("model", model)} | ({("kind", kind)} if kind else set())
            assert any(own == name and labels >= wanted for own, labels in served), (name, wanted)


def test_every_alert_is_tested_calm_broken_and_calm_again() -> None:
    tests = json.loads(alert_rules_test(SUBJECT))["tests"]
    names = [rule["alert"] for rule in rules_of(alert_rules(SUBJECT))]
    assert [one["alert_rule_test"][0]["alertname"] for one in tests] == names
    for one in tests:
        assert [len(step["exp_alerts"]) for step in one["alert_rule_test"]] == [0, 1, 0]


def test_times_are_as_asked() -> None:
    timing = Timing(over="7s", absent="3s", interval="2s")
    text = alert_rules(SUBJECT, timing)
    assert json.loads(text)["groups"][0]["interval"] == "2s"
    by_name = {rule["alert"]: rule for rule in rules_of(text)}
    assert "[7s]" in by_name["GateLogLoss"]["expr"] and by_name["GatescopeDown"]["for"] == "3s"
    assert "> 30 " in by_name["TrafficStale"]["expr"]


@needs_promtool
@pytest.mark.parametrize("stale_seconds", [0.5, 300.0, 7200.0, 86_400.0])
def test_promtool_sees_every_alert_fire_and_resolve(tmp_path: Path, stale_seconds: float) -> None:
    check(tmp_path, replace(SUBJECT, stale_seconds=stale_seconds))


@needs_promtool
@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_of_a_model_breaks_the_rules(tmp_path: Path, text: str) -> None:
    check(tmp_path, hostile(text))


@needs_promtool
def test_the_command_writes_rules_that_pass_and_a_dashboard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"v{number}" for number in range(100)]
    counts = population.population(100, np.random.default_rng(0))
    videos = BaselineVideos.of(population.LAYOUT, names, names, [""] * 100, counts)
    save_baseline(make_baseline(population.MODEL, [videos], windows=(25,)), tmp_path / "b.json")
    folder = tmp_path / "alerting"
    arguments = ["--baseline", str(tmp_path / "b.json"), "--output", str(folder), "--stale-seconds", "60"]
    assert main(["monitor", "alerts", *arguments]) == 0
    assert {path.name for path in folder.iterdir()} == {RULES_FILE, TESTS_FILE, DASHBOARD_FILE}
    assert capsys.readouterr().out.count(f"wrote {folder}/") == 3
    promtool("check", "rules", folder / RULES_FILE)
    promtool("test", "rules", folder / TESTS_FILE)
    assert population.MODEL.version in (folder / RULES_FILE).read_text(encoding="utf-8")
