"""The dashboard: Grafana can load it, and a real Prometheus answers every query in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from gatescope.runtime.monitor.alerting.dashboard import dashboard
from gatescope.runtime.monitor.metrics.server import MetricsServer, exposition

from ..metrics.snapshots import samples
from .prometheus import Prometheus, needs_prometheus
from .subjects import SUBJECT, broken, calm, hostile

DASHBOARD = json.loads(dashboard(SUBJECT))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES: list[tuple[str, str]] = [
    (panel["title"], target["expr"]) for panel in PANELS for target in panel.get("targets", [])
]
#: Panels of what fires: empty while nothing does.
EMPTY_WHILE_CALM = {"Likely cause": 'gatescope_alarm_diagnosis{model="$model"}', "Alarms firing": "> 0"}


def as_grafana_asks(expression: str) -> str:
    """With its variables filled in."""
    filled = expression.replace("$model", SUBJECT.model).replace("$__rate_interval", "10s")
    assert "$" not in filled
    return filled


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    places = [panel["gridPos"] for panel in PANELS]
    for place in places:
        assert place["x"] >= 0 and place["w"] > 0 and place["h"] > 0 and place["x"] + place["w"] <= 24
    assert not any(overlap(one, other) for one, other in combinations(places, 2))


def test_every_panel_has_a_title_a_source_and_queries_with_names_of_their_own() -> None:
    for panel in PANELS:
        if panel["type"] == "text":
            assert panel["options"]["content"] and "targets" not in panel
            continue
        assert panel["type"] in ("stat", "timeseries", "heatmap") and panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        names = [target["refId"] for target in panel["targets"]]
        assert names and len(set(names)) == len(names)
        assert all(target["expr"] and "legendFormat" in target for target in panel["targets"])
    titles = [panel["title"] for panel in PANELS if panel["type"] == "heatmap"]
    assert titles == [f"{kind} gate of layer {layer}" for kind, layer in SUBJECT.gates]


def test_variables_are_those_that_queries_use() -> None:
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(PANELS))) - {"__rate_interval"}
    assert used == variables == {"datasource", "model"}
    model = next(one for one in DASHBOARD["templating"]["list"] if one["name"] == "model")
    assert model["query"] == "label_values(gatescope_build_info, model)"
    assert model["current"]["value"] == SUBJECT.model


def test_queries_ask_for_metrics_that_are_served() -> None:
    served = {name for name, _ in samples(exposition(broken()))}
    asked = {name for _, query in QUERIES for name in re.findall(r"gatescope_\w+", query)}
    assert asked <= served
    assert {"gatescope_alarm_firing", "gatescope_gate_value_bucket", "gatescope_detector_excess"} <= asked


@pytest.mark.parametrize("text", ['a"b', "a\\b\n", "{{ x }}", "시 😀 </script>"])
def test_no_name_of_a_model_breaks_it(text: str) -> None:
    made = json.loads(dashboard(hostile(text)))
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", made["uid"]) and text in made["title"]
    assert made["panels"] == PANELS


def test_one_window_has_one_panel_of_drift() -> None:
    titles = [panel["title"] for panel in PANELS if panel["title"].startswith("Drift")]
    assert titles == [f"Drift, window of {window}: distance and threshold" for window in SUBJECT.windows]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has seen traffic with everything wrong for some scrapes, and all counters rise."""
    videos = iter(range(10, 10_000, 10))

    def snapshot() -> Any:
        now = next(videos)
        return broken(now, wrong=now)

    with (
        MetricsServer(snapshot, 0) as server,
        Prometheus(tmp_path_factory.mktemp("prometheus"), server.port) as prometheus,
    ):
        seen = f'count_over_time(gatescope_build_info{{model="{SUBJECT.model}"}}[1m]) >= 3'
        prometheus.until(lambda: prometheus.query(seen), "three scrapes")
        yield prometheus


@needs_prometheus
@pytest.mark.slow
@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_a_real_prometheus_answers_every_query(scraped: Prometheus, title: str, query: str) -> None:
    found = scraped.query(as_grafana_asks(query))
    assert found, title
    assert all(one["value"][1] != "NaN" for one in found)


@needs_prometheus
@pytest.mark.slow
def test_the_legends_name_labels_that_the_answers_have(scraped: Prometheus) -> None:
    for panel in PANELS:
        for target in panel.get("targets", []):
            wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            found = scraped.query(as_grafana_asks(target["expr"]))
            # To Prometheus an empty label is none: that of traffic without a slice.
            assert all(set(one["metric"]) | {"slice"} >= wanted for one in found), panel["title"]
            legends = [tuple(one["metric"].get(label) for label in sorted(wanted)) for one in found]
            assert len(set(legends)) == len(legends), f"{panel['title']}: curves with one legend"


@needs_prometheus
@pytest.mark.slow
def test_the_numbers_are_those_that_were_served(scraped: Prometheus) -> None:
    firing = next(query for title, query in QUERIES if title == "Alarms firing")
    [one] = scraped.query(as_grafana_asks(firing))
    assert float(one["value"][1]) == sum(
        value for (name, _), value in samples(exposition(broken())).items() if name.endswith("alarm_firing")
    )


@needs_prometheus
@pytest.mark.slow
def test_while_all_is_well_only_the_panels_of_what_fires_are_empty(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    videos = iter(range(10, 10_000, 10))
    with (
        MetricsServer(lambda: calm(next(videos)), 0) as server,
        Prometheus(tmp_path_factory.mktemp("calm"), server.port) as prometheus,
    ):
        seen = f'count_over_time(gatescope_build_info{{model="{SUBJECT.model}"}}[1m]) >= 3'
        prometheus.until(lambda: prometheus.query(seen), "three scrapes")
        empty = {(title, query) for title, query in QUERIES if not prometheus.query(as_grafana_asks(query))}
    assert {title for title, _ in empty} == set(EMPTY_WHILE_CALM)
    assert all(query.endswith(EMPTY_WHILE_CALM[title]) for title, query in empty)
