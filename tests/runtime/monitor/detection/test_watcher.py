"""What the watcher tells of traffic that changes in a known way, and what it does not tell of the rest."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from gatescope.runtime.monitor.alarm import Alarm
from gatescope.runtime.monitor.baseline.baseline import Baseline, make_baseline
from gatescope.runtime.monitor.baseline.videos import BaselineVideos
from gatescope.runtime.monitor.counting.observed import ObservedVideo
from gatescope.runtime.monitor.counting.videos import VideoCounts, count_gates
from gatescope.runtime.monitor.detection import watcher as watching
from gatescope.runtime.monitor.detection.watcher import Watcher
from gatescope.runtime.monitor.settings import WatchSettings

from ....torture.population import CLIPS, LAYERS, LAYOUT, MODEL, observed, population

RNG = np.random.default_rng(7)
NORMAL = population(2500, RNG)
SILENT = population(300, RNG, silent=1.0)
SHIFTED = population(300, RNG, shift=0.4)
SLIGHTLY = population(1500, RNG, shift=0.1)


def baseline_of(slices: list[str]) -> Baseline:
    names = [f"b{number}" for number in range(1000)]
    return make_baseline(MODEL, [BaselineVideos.of(LAYOUT, names, names, slices, NORMAL[:1000])])


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return baseline_of([""] * 1000)


@pytest.fixture(scope="module")
def sliced() -> Baseline:
    return baseline_of(["ko" if number % 4 == 0 else "en" for number in range(1000)])


@pytest.fixture
def watcher(baseline: Baseline) -> Watcher:
    return Watcher(baseline)


class Traffic:
    """Feeds a watcher video by video, ten a second."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.sent = 0

    def send(
        self, videos: VideoCounts, *, slice_: str = "", segment: str = "p-000001"
    ) -> list[tuple[int, Alarm]]:
        told: list[tuple[int, Alarm]] = []
        for video in observed(videos, range(len(videos)), first=self.sent, slices=[slice_] * len(videos)):
            told += self.one(video, segment)
        return told

    def one(self, video: ObservedVideo, segment: str = "p-000001") -> list[tuple[int, Alarm]]:
        self.sent += 1
        alarms = self.watcher.see([video], [segment], now=self.sent / 10)
        return [(self.sent, alarm) for alarm in alarms]


def gates(value: float | np.ndarray, videos: int = 1) -> VideoCounts:
    block = np.broadcast_to(np.asarray(value, np.float32), (videos, LAYERS, CLIPS, 1))
    return count_gates(LAYOUT, {"attention": block, "ffn": block})


def test_traffic_as_in_the_baseline_is_quiet(watcher: Watcher) -> None:
    assert Traffic(watcher).send(NORMAL[1000:2500]) == []
    assert watcher.firing == []


def test_silent_audio_is_told_within_the_first_window_and_resolved_after(watcher: Watcher) -> None:
    traffic = Traffic(watcher)
    assert traffic.send(NORMAL[1000:1100]) == []
    (at, alarm), *others = traffic.send(SILENT[:60])
    assert at - 100 <= 25 and others == []
    assert alarm.state == "firing" and "collapse" in alarm.kinds and "drift" in alarm.kinds
    assert watcher.firing and watcher.firing[0].number == alarm.number
    worst = alarm.readings[0]
    assert worst.excess >= 2 and worst.window == alarm.window
    assert [example.segment for example in alarm.examples] == ["p-000001"] * 5
    assert all(int(example.sample_id[1:]) >= 100 for example in alarm.examples)
    # Over when each window that fired has been clean twice, with no video in common.
    back = traffic.send(NORMAL[1100:1700])
    assert [(one.state, one.number) for _, one in back] == [("resolved", alarm.number)]
    assert 50 <= back[0][0] - 160 <= 450
    assert watcher.firing == []


def test_videos_that_are_asked_for_again_are_watched_as_they_are_now(watcher: Watcher) -> None:
    def ask(counts: VideoCounts, times: int) -> list[Alarm]:
        asked = [video for _ in range(times) for video in observed(counts, range(100))]
        return [alarm for video in asked for alarm in watcher.see([video], now=0.0)]

    assert ask(NORMAL[1000:1100], 20) == []
    (alarm, *others) = ask(SILENT[:100], 2)
    assert "collapse" in alarm.kinds and [one.state for one in others] == []
    assert [one.diagnosis.label for one in ask(gates(np.nan, 100), 1)] == ["not finite numbers"]


def test_a_new_fault_is_told_beside_a_lasting_one(watcher: Watcher) -> None:
    traffic = Traffic(watcher)
    assert traffic.send(SHIFTED)
    before = traffic.sent
    at, alarm = traffic.send(gates(np.nan, 60))[0]
    assert at - before <= 5 and alarm.diagnosis.label == "not finite numbers"
    assert watcher.raised["nan"] == 1
    assert len({one.number for one in watcher.firing}) == 1


@pytest.mark.slow
def test_a_lasting_small_change_is_one_alarm(baseline: Baseline) -> None:
    for shift in (0.1, 0.2):
        traffic = Traffic(Watcher(baseline))
        drifted = population(3000, np.random.default_rng(8), shift=shift)
        told = traffic.send(drifted)
        assert len({alarm.number for _, alarm in told}) == 1
        assert [alarm.state for _, alarm in told if alarm.state == "resolved"] == []


def test_samples_of_one_request_without_ids_that_are_alike_are_one_video(watcher: Watcher) -> None:
    for start in range(1000):
        one = replace(observed(NORMAL[1000 + start : 1001 + start], [0], first=start)[0], sample_id="")
        assert watcher.see([one] * 16, now=start / 10) == []
    assert watcher.filled() == {"": 200}


def test_a_diagnosis_that_fails_is_an_alarm_all_the_same(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr(watching, "diagnose", fails)
    (_, alarm), *_ = Traffic(watcher).send(SILENT[:30])
    assert alarm.diagnosis.label == "unknown"
    assert "the diagnosis failed: ValueError: no" in alarm.diagnosis.evidence


def test_legitimately_silent_videos_are_no_alarm(watcher: Watcher) -> None:
    """Five in a hundred are silent in the baseline; five silent ones at a time are nothing."""
    traffic = Traffic(watcher)
    for start in range(1000, 2000, 95):
        assert traffic.send(NORMAL[start : start + 90]) == []
        assert traffic.send(SILENT[start // 95 : start // 95 + 3]) == []


def test_a_small_change_is_told_by_the_large_window(watcher: Watcher) -> None:
    told = Traffic(watcher).send(SLIGHTLY)
    assert told and told[0][1].window >= 50
    assert {"drift", "level"} & set(told[0][1].kinds)


def test_a_level_is_told_in_the_gates_unit(watcher: Watcher) -> None:
    (_, alarm), *_ = Traffic(watcher).send(SHIFTED)
    level = next(reading for reading in alarm.readings if reading.kind == "level")
    row = LAYOUT.names.index(f"{level.gate}.{level.layer}")
    mean = NORMAL[:1000].sum_of("sum")[:, row].sum() / NORMAL[:1000].count[:, row].sum()
    assert level.baseline == pytest.approx(mean, abs=1e-6)
    assert level.value > level.threshold > level.baseline
    assert level.effect > 0


def test_one_video_that_is_no_number_is_told_at_once(watcher: Watcher) -> None:
    traffic = Traffic(watcher)
    traffic.send(NORMAL[1000:1003])
    told = traffic.send(gates(np.nan))
    assert [alarm.kinds for _, alarm in told] == [("nan",)]
    assert told[0][1].examples[0].sample_id == "v3"


@pytest.mark.parametrize(("value", "kind"), [(0.97, "saturation"), (0.0, "collapse"), (0.5, "constant")])
def test_whole_videos_that_are_extreme(watcher: Watcher, value: float, kind: str) -> None:
    traffic = Traffic(watcher)
    rng = np.random.default_rng(8)
    traffic.send(NORMAL[1000:1050])
    told: list[tuple[int, Alarm]] = []
    for number in range(50):
        block = np.full((1, LAYERS, CLIPS, 1), value + 1e-4 * rng.random(), np.float32)
        if kind != "constant":
            block = block + rng.uniform(0, 1e-3, block.shape).astype(np.float32)
        told += traffic.one(
            observed(count_gates(LAYOUT, {"attention": block, "ffn": block}), [0], first=1000 + number)[0]
        )
    assert told and kind in told[0][1].kinds
    assert "frozen" not in told[0][1].kinds


def test_gates_that_freeze_are_told(watcher: Watcher) -> None:
    traffic = Traffic(watcher)
    traffic.send(NORMAL[1000:1050])
    told: list[tuple[int, Alarm]] = []
    for number in range(60):
        told += traffic.one(observed(NORMAL[1049:1050], [0], first=1000 + number)[0])
    assert told and "frozen" in told[0][1].kinds


def test_one_frozen_worker_of_four_is_told(watcher: Watcher) -> None:
    traffic = Traffic(watcher)
    told: list[tuple[int, Alarm]] = []
    for number in range(200):
        worker = number % 4
        counts = NORMAL[1000:1001] if worker == 3 else NORMAL[1001 + number : 1002 + number]
        told += traffic.one(observed(counts, [0], first=number)[0], f"worker{worker}-000001")
    assert told and "frozen" in told[0][1].kinds


def test_the_same_video_again_is_neither_frozen_nor_counted_twice(watcher: Watcher) -> None:
    video = observed(NORMAL[1000:1001], [0])[0]
    for number in range(300):
        assert watcher.see([video], ["p-000001"], now=number) == []
    assert watcher.filled()[""] == 1


def test_nameless_videos_asked_for_twice_are_not_frozen(watcher: Watcher) -> None:
    traffic = Traffic(watcher)
    for number in range(1000, 1300):
        video = replace(observed(NORMAL, [number])[0], sample_id="")
        assert [*traffic.one(video), *traffic.one(video)] == []


def test_stale_traffic_is_told_by_the_clock_and_resolved_by_the_next_video(watcher: Watcher) -> None:
    traffic = Traffic(watcher)
    traffic.send(NORMAL[1000:1010])
    assert watcher.tick(200.0) == []
    (alarm,) = watcher.tick(302.0)
    assert alarm.kinds == ("stale",) and alarm.readings[0].value == pytest.approx(301.0)
    assert watcher.tick(500.0) == []
    back = watcher.see(observed(NORMAL, [1010], first=1010), now=600.0)
    assert [(one.kinds, one.state) for one in back] == [(("stale",), "resolved")]


def test_a_clock_that_jumps_back_is_no_alarm(watcher: Watcher) -> None:
    for now in (1e6, 5.0, 6.0):
        assert watcher.see(observed(NORMAL, [1000 + int(now) % 7]), now=now) == []
    assert watcher.tick(100.0) == []


def test_a_slice_that_stops_coming_is_missing(sliced: Baseline) -> None:
    traffic = Traffic(Watcher(sliced))
    mixed = observed(
        NORMAL, range(1000, 1100), slices=["ko" if number % 4 == 0 else "en" for number in range(100)]
    )
    for video in mixed:
        assert traffic.one(video) == []
    told = traffic.send(NORMAL[1100:1400], slice_="en")
    assert [(alarm.kinds, alarm.slice, alarm.state) for _, alarm in told] == [(("missing",), "ko", "firing")]
    assert told[0][0] <= 100 + sliced.missing["ko"]
    back = traffic.send(NORMAL[1400:1401], slice_="ko")
    assert [alarm.state for _, alarm in back] == ["resolved"]


def test_a_fault_in_one_slice_is_told_of_that_slice(sliced: Baseline) -> None:
    watcher = Watcher(sliced, WatchSettings(at_once=1.5))
    traffic = Traffic(watcher)
    told: list[Alarm] = []
    for number in range(400):
        silent = number % 10 == 0
        counts = SHIFTED[number // 10 : number // 10 + 1] if silent else NORMAL[1000 + number : 1001 + number]
        video = observed(counts, [0], first=number, slices=["ko" if silent else "en"])[0]
        told += [alarm for _, alarm in traffic.one(video)]
    assert {alarm.slice for alarm in told} == {"ko"}


def test_a_fault_everywhere_is_one_alarm(sliced: Baseline) -> None:
    traffic = Traffic(Watcher(sliced))
    told: list[Alarm] = []
    for number in range(400):
        counts = (
            NORMAL[1000 + number : 1001 + number] if number < 200 else SILENT[number - 200 : number - 199]
        )
        video = observed(counts, [0], first=number, slices=["ko" if number % 4 == 0 else "en"])[0]
        told += [alarm for _, alarm in traffic.one(video)]
    assert [alarm.slice for alarm in told] == [""]


def test_a_slice_nobody_knows_is_watched_with_all_traffic(watcher: Watcher) -> None:
    (_, alarm), *_ = Traffic(watcher).send(SILENT[:60], slice_="fr")
    assert alarm.slice == ""


def test_losses_of_the_log_are_told_once_and_end(watcher: Watcher) -> None:
    assert watcher.lost(0, 1.0) == []
    (alarm,) = watcher.lost(7, 2.0)
    assert alarm.kinds == ("loss",) and "7 videos" in alarm.diagnosis.evidence[0]
    assert watcher.lost(9, 3.0) == []
    watcher.see(observed(NORMAL, [1000]), now=250.0)
    assert [one.state for one in watcher.tick(310.0)] == ["resolved"]


def test_alarms_are_json(watcher: Watcher) -> None:
    (_, alarm), *_ = Traffic(watcher).send(SILENT[:60])
    plain = alarm.to_dict()
    assert plain["kinds"] == alarm.kinds and json.loads(alarm.to_json())["kinds"] == list(alarm.kinds)
    assert "\n" not in alarm.to_json()
    assert plain["readings"][0]["threshold"] == alarm.readings[0].threshold


def test_readings_are_there_for_every_row_window_and_detector(watcher: Watcher) -> None:
    Traffic(watcher).send(NORMAL[1000:1200])
    readings = watcher.readings()[""]
    # Six detectors a row, and the frozen gates of the window, for three windows.
    assert len(readings) == 3 * (6 * len(LAYOUT) + 1)
    assert all(
        np.isfinite([one.value, one.baseline, one.threshold, one.effect, one.excess]).all()
        for one in readings
    )
    assert all((one.excess >= 1) == (one.value > one.threshold) for one in readings if one.kind == "drift")
