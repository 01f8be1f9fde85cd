"""The exposition: every number is what counting the gates by hand gives, under few and bounded labels."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from gatescope.runtime.monitor.detectors import DETECTORS
from gatescope.runtime.monitor.metrics.collector import GateCollector
from gatescope.runtime.monitor.metrics.definitions import SERVICE_COUNTERS
from gatescope.runtime.monitor.metrics.server import exposition
from gatescope.runtime.monitor.metrics.state import FleetState, MetricsSnapshot

from .snapshots import (
    MODEL,
    RANGES,
    SECRET,
    Samples,
    alarm,
    all_readings,
    detection,
    gates,
    named,
    reading,
    samples,
    series,
    snapshot_of,
    state_of,
    value,
    values_of,
)

GATES = gates(40)
PROMTOOL = shutil.which("promtool")


@pytest.fixture(scope="module")
def everything() -> MetricsSnapshot:
    """Two slices, an alarm in each, a reading of every detector."""
    alarms = [alarm(["collapse", "level"]), alarm(["drift"], "ko", "unknown")]
    readings = {"": all_readings(), "ko": all_readings()}
    return snapshot_of(state_of(GATES, {"ko": 25, "": 15}, requests=40), detection(alarms, readings))


@pytest.fixture(scope="module")
def found(everything: MetricsSnapshot) -> Samples:
    return samples(exposition(everything))


@pytest.mark.parametrize(("gate", "layer"), RANGES)
def test_buckets_are_cumulative_and_equal_to_counting_the_gates(
    found: Samples, gate: str, layer: str
) -> None:
    values = values_of(GATES, gate, layer)
    finite = values[np.isfinite(values)]
    buckets = {
        float(dict(own)["le"]): count
        for own, count in series(found, "gate_value_bucket", gate=gate, layer=layer).items()
    }
    low, high = RANGES[gate, layer]
    np.testing.assert_allclose(sorted(buckets)[:-1], np.linspace(low, high, 17)[1:], atol=1e-6)
    # The upper end is compared in the gates' own precision, in which 0.7 is a little less.
    assert buckets == {edge: (finite <= edge).sum() for edge in buckets}
    assert buckets[np.inf] == finite.size == value(found, "gate_values_total", gate=gate, layer=layer)
    assert buckets[np.inf] > buckets[high]


@pytest.mark.parametrize(("gate", "layer"), RANGES)
def test_a_histogram_of_signed_gates_has_no_sum_but_two_counters(
    found: Samples, gate: str, layer: str
) -> None:
    assert {name for name, _ in found if name.startswith("gatescope_gate_value_")} == {
        "gatescope_gate_value_bucket"
    }
    values = values_of(GATES, gate, layer)
    finite = values[np.isfinite(values)]
    positive = value(found, "gate_positive_sum_total", gate=gate, layer=layer)
    negative = value(found, "gate_negative_sum_total", gate=gate, layer=layer)
    np.testing.assert_allclose(positive, finite[finite > 0].sum(), rtol=1e-6)
    np.testing.assert_allclose(negative, -finite[finite < 0].sum(), rtol=1e-6)


@pytest.mark.parametrize(("gate", "layer"), RANGES)
def test_extreme_values_are_counted(found: Samples, gate: str, layer: str) -> None:
    values = values_of(GATES, gate, layer)
    finite = values[np.isfinite(values)]
    low, high = RANGES[gate, layer]
    saturated = (0.95 * low, 0.95 * high) if low < 0 else (low + 0.05 * (high - low), high - 0.05)
    expected = {
        "nan": np.isnan(values).sum(),
        "infinite": np.isinf(values).sum(),
        "near_zero": (np.abs(finite) < 0.05).sum(),
        "saturated": ((finite <= saturated[0]) | (finite >= saturated[1])).sum(),
        "rail": ((finite <= low + 1e-3) | (finite >= high - 1e-3)).sum(),
    }
    for name, count in expected.items():
        assert count > 0
        assert value(found, f"gate_{name}_values_total", gate=gate, layer=layer) == count


def test_videos_are_counted_that_are_constant_at_zero_or_saturated() -> None:
    given = gates(10)
    for number, level in enumerate([0.5, 0.001, 0.999]):
        given["attention"][3 + number, 0] = np.float32(level)
    found = samples(exposition(snapshot_of(state_of(given))))
    kinds = {
        kind: value(found, "gate_videos_total", gate="attention", layer="0", kind=kind)
        for kind in ("constant", "collapse", "saturation")
    }
    assert kinds == {"constant": 3, "collapse": 1, "saturation": 1}


def test_every_counter_of_a_process_is_shown() -> None:
    told = {name: 0.25 + number for number, name in enumerate(SERVICE_COUNTERS)}
    found = samples(exposition(snapshot_of(state_of(GATES, **told))))
    shown = list(found.values())
    assert [name for name, number in told.items() if shown.count(number) != 1] == []
    watching = snapshot_of(state_of(GATES, **told), deliveries_failed=1000, faults=2000)
    more = samples(exposition(watching))
    assert value(more, "alarm_delivery_failures_total") == told["deliveries_failed"] + 1000
    assert value(more, "monitor_faults_total") == told["faults"] + 2000


def test_traffic_workers_and_what_runs() -> None:
    state = state_of(GATES, {"ko": 25, "": 15})
    fleet = FleetState(state, live=3, damaged=2)
    found = samples(exposition(MetricsSnapshot(MODEL, fleet, versions={"version": "0.1.0"})))
    assert value(found, "videos_total", slice="ko") == 25 and value(found, "videos_total", slice="") == 15
    assert value(found, "last_inference_timestamp_seconds") == state.last_inference
    assert value(found, "workers") == 3 and value(found, "state_files_damaged") == 2
    assert value(found, "build_info", version="0.1.0", family="audio_video", gating="clipwise") == 1


def test_before_the_first_video_counters_are_there_and_zero() -> None:
    found = samples(exposition(snapshot_of(state_of(gates(0)))))
    assert value(found, "videos_total", slice="") == 0
    assert all(number == 0 for (name, _), number in found.items() if name.endswith("_total"))
    assert len(series(found, "gate_value_bucket")) == 17 * len(RANGES)


def test_detectors_show_value_baseline_threshold_and_excess_of_every_row_and_window() -> None:
    readings = [
        reading("drift", "ffn", 0, window=25, value=0.2, baseline=0.01, threshold=0.3, excess=0.6),
        reading("drift", "ffn", 0, window=200, value=0.4, baseline=0.02, threshold=0.1, excess=4.5),
        reading("frozen", value=0.25),
    ]
    found = samples(exposition(snapshot_of(state_of(GATES), detection(readings={"": readings}))))
    for one in readings:
        layer = "" if one.layer is None else str(one.layer)
        own = {"kind": one.kind, "gate": one.gate, "layer": layer, "window": str(one.window), "slice": ""}
        for name in ("value", "baseline", "threshold", "excess"):
            assert value(found, f"detector_{name}", **own) == getattr(one, name)
    assert len(series(found, "detector_value")) == len(readings)
    assert value(found, "window_videos", slice="ko") == 7 and value(found, "window_videos", slice="") == 25
    assert value(found, "watched_videos_total") == 41 and value(found, "baseline_videos") == 300
    assert value(found, "false_alarm_target") == 0.01


def test_of_a_slice_the_row_nearest_to_its_threshold_is_shown_under_one_series() -> None:
    rows = [
        reading("level", "attention", 0, value=0.1, excess=0.2),
        reading("level", "ffn", 0, value=0.9, excess=3.0),
        reading("level", "ffn", 0, window=200, value=0.4, excess=0.5),
    ]
    found = samples(exposition(snapshot_of(state_of(GATES), detection(readings={"": [], "ko": rows}))))
    assert value(found, "detector_value", slice="ko", window="25") == 0.9
    assert value(found, "detector_excess", slice="ko", window="200") == 0.5
    assert {(dict(own)["gate"], dict(own)["layer"]) for own in series(found, "detector_value")} == {("", "")}


def test_what_fires_and_what_it_looks_like(found: Samples) -> None:
    firing = {
        (dict(own)["slice"], dict(own)["kind"])
        for own, number in series(found, "alarm_firing").items()
        if number
    }
    assert firing == {("", "collapse"), ("", "level"), ("ko", "drift")}
    assert len(series(found, "alarm_firing", slice="")) == len(DETECTORS)
    assert series(found, "alarm_firing", slice="ko", kind="stale") == {}
    named = {(dict(own)["slice"], dict(own)["diagnosis"]) for own in series(found, "alarm_diagnosis")}
    assert named == {("", "silent audio"), ("ko", "unknown")}
    for number, kind in enumerate(DETECTORS):
        assert value(found, "alarms_total", kind=kind) == number


def test_without_alarms_every_kind_is_there_and_zero() -> None:
    found = samples(exposition(snapshot_of(state_of(GATES), detection())))
    assert set(series(found, "alarm_firing").values()) == {0}
    assert series(found, "alarm_diagnosis") == {}


def test_without_a_baseline_nothing_is_said_of_detectors_and_alarms() -> None:
    found = samples(exposition(snapshot_of(state_of(GATES))))
    names = {name for name, _ in found}
    assert not {name for name in names if "detector" in name or "firing" in name or "baseline" in name}


def test_labels_are_few_and_never_ids(everything: MetricsSnapshot, found: Samples) -> None:
    labels = {label for name, own in found if name != "gatescope_build_info" for label, _ in own}
    assert labels == {"model", "layer", "gate", "slice", "window", "kind", "diagnosis", "le"}
    assert all(dict(own)["model"] == MODEL.version for _, own in found)
    assert SECRET not in exposition(everything)


def test_both_formats_parse_and_counters_end_in_total_and_are_not_negative(
    everything: MetricsSnapshot,
) -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(GateCollector(lambda: everything))
    # The parser of OpenMetrics is strict: order, names, buckets that only rise, counters below zero.
    strict = list(openmetrics(generate_latest(registry).decode()))
    lenient = list(prometheus(exposition(everything)))
    assert {one.name for one in strict} == {one.name.removesuffix("_total") for one in lenient}
    for family in lenient:
        assert family.documentation and family.name.startswith("gatescope_")
        if family.type == "counter":
            assert all(one.name.endswith("_total") and one.value >= 0 for one in family.samples)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say(everything: MetricsSnapshot) -> None:
    text = exposition(everything).encode()
    checked = subprocess.run([str(PROMTOOL), "check", "metrics"], input=text, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\nb", "{}=,", "시 é 😀", "</script>", "{{ . }}"])
def test_hostile_slices_diagnoses_and_models_come_back_as_they_were(text: str) -> None:
    state = state_of(GATES, {text: 40})
    model = named(MODEL, text)
    seen = detection([alarm(["drift"], text, text)], slices=(text,), filled={text: 3})
    found = samples(exposition(snapshot_of(state, seen, model=model)))
    assert value(found, "videos_total", slice=text, model=model.version) == 40
    assert value(found, "alarm_firing", slice=text, kind="drift") == 1
    assert value(found, "alarm_diagnosis", slice=text, diagnosis=text) == 1
