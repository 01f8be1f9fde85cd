"""Planted windows are called by their names, mixtures too; what has no name gets none, and says why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from gatescope.runtime.monitor.alarm import Alarm, Diagnosis, WindowReading
from gatescope.runtime.monitor.counting.videos import VideoCounts, count_gates
from gatescope.runtime.monitor.detection.watcher import Watcher
from gatescope.runtime.monitor.diagnosis.diagnose import (
    ANOTHER_MODEL,
    CONSTANT,
    FROZEN,
    NOT_NUMBERS,
    UNKNOWN,
    diagnose,
)
from gatescope.runtime.monitor.diagnosis.signatures import Signatures
from gatescope.runtime.monitor.learning.injections import NORMALISATION, SHUFFLED, SILENT, ZERO

from ....torture.agreeing_model import LAYERS, AgreeingModel
from ....torture.population import observed
from .subjects import BASELINE, VARIANTS, WINDOW, Loudness, Subject

CLIPS = 60


@pytest.fixture(scope="module")
def agreeing() -> Subject:
    return Subject(AgreeingModel())


@pytest.fixture(scope="module")
def usual(agreeing: Subject) -> VideoCounts:
    """Videos that neither the baseline nor the signatures know."""
    return agreeing.counts(range(BASELINE, BASELINE + 400))


def fresh(count: int, first: int = 700) -> range:
    return range(first, first + count)


def told(
    subject: Subject,
    window: VideoCounts,
    signatures: Signatures | None = None,
    *,
    frozen: int = 0,
    readings: Sequence[WindowReading] | None = None,
) -> Diagnosis:
    """Of ``window``, with the subject's own signatures unless others are given."""
    beyond = subject.beyond(window, frozen) if readings is None else readings
    known = subject.signatures if signatures is None else signatures
    return diagnose(known, subject.model.layout, subject.baseline.videos.counts, window, beyond)


def unnamed(subject: Subject, window: VideoCounts, frozen: int = 0) -> Diagnosis:
    """Without any signatures."""
    beyond = subject.beyond(window, frozen)
    return diagnose(None, subject.model.layout, subject.baseline.videos.counts, window, beyond)


def counted(subject: Subject, gates: np.ndarray) -> VideoCounts:
    """``gates`` (videos, 2 · layers, clips): attention first."""
    block = gates.astype(np.float32)[..., None]
    return count_gates(subject.model.layout, {"attention": block[:, :LAYERS], "ffn": block[:, LAYERS:]})


def sentence(found: Diagnosis, part: str) -> str:
    (one,) = (one for one in found.evidence if part in one)
    return one


@pytest.mark.parametrize(("label", "variant"), VARIANTS)
def test_a_planted_fault_is_called_by_its_name_with_what_it_explains(
    agreeing: Subject, label: str, variant: str
) -> None:
    found = told(agreeing, agreeing.counts(fresh(WINDOW), label, variant))
    assert found.label == label
    assert float(re.findall(r"explains (\d+)% of the change", found.evidence[0])[0]) >= 50
    assert variant in found.evidence[0]
    assert max(found.scores, key=lambda name: found.scores[name]) == label
    assert found.scores[label] == 0 and len(found.scores) == 5


@pytest.mark.parametrize("label", [SILENT, ZERO, NORMALISATION])
@pytest.mark.parametrize("share", [0.4, 0.7])
def test_of_a_mixture_the_fault_is_named_and_its_share_of_the_window(
    agreeing: Subject, usual: VideoCounts, label: str, share: float
) -> None:
    count = round(share * WINDOW)
    broken = agreeing.counts(fresh(count), label, "of the audio" if label == NORMALISATION else "")
    found = told(agreeing, VideoCounts.joined([usual[: WINDOW - count], broken]))
    assert found.label == label
    said = re.findall(r"about (\d+)% of", sentence(found, "of the window's videos have it"))
    assert abs(float(said[0]) / 100 - share) <= 0.15


def test_a_window_that_is_wholly_broken_says_nothing_of_a_share(agreeing: Subject) -> None:
    found = told(agreeing, agreeing.counts(fresh(WINDOW), ZERO))
    assert not any("of the window's videos have it" in one for one in found.evidence)


@pytest.mark.parametrize("label", [SILENT, ZERO, SHUFFLED, NORMALISATION])
def test_a_window_of_one_video_is_diagnosed_all_the_same(agreeing: Subject, label: str) -> None:
    window = agreeing.counts(fresh(2), label)[:1]
    reading = WindowReading("drift", "ffn", 1, 1, 0.4, 0.1, 0.2, 4.0, 3.0)
    found = told(agreeing, window, readings=[reading])
    assert "the ffn gate of layer 1" in " ".join(found.evidence)
    assert all(np.isfinite(list(found.scores.values())))


def test_the_worst_gate_is_named_with_its_mean_then_and_now(agreeing: Subject) -> None:
    broken = agreeing.counts(fresh(WINDOW), ZERO)
    worst = agreeing.beyond(broken)[0]
    row = agreeing.model.layout.names.index(f"{worst.gate}.{worst.layer}")

    def mean(label: str, numbers: range) -> float:
        """Of all values of the row, from the model's own gates."""
        gates = [agreeing.session.run(sample.as_batch()).gates for sample in agreeing.samples(numbers, label)]
        kind, layer = ("attention", row) if row < LAYERS else ("ffn", row - LAYERS)
        return float(np.concatenate([one[kind][0, layer].ravel() for one in gates]).mean())

    expected = (
        f"the {worst.gate} gate of layer {worst.layer} is {mean(ZERO, fresh(WINDOW)):.3f} on average,"
        f" {mean('', range(BASELINE)):.3f} in the baseline"
    )
    assert expected in told(agreeing, broken).evidence
    assert expected in unnamed(agreeing, broken).evidence


def test_without_signatures_a_fault_is_unknown_and_that_is_the_reason(agreeing: Subject) -> None:
    broken = agreeing.counts(fresh(WINDOW), SHUFFLED)
    none = replace(agreeing.signatures, faults=())
    for found in (unnamed(agreeing, broken), told(agreeing, broken, none)):
        assert found.label == UNKNOWN and found.scores == {}
        assert "no known fault fits" in found.evidence[0]
        assert "no fault signatures" in found.evidence[-1]


def test_a_change_that_no_fault_explains_is_unknown_and_names_the_nearest(agreeing: Subject) -> None:
    """One gate of six is noise."""
    rng = np.random.default_rng(9)
    noise = counted(agreeing, np.tanh(rng.normal(0.3, 0.4, (WINDOW, 2 * LAYERS, CLIPS))))
    window = agreeing.counts(fresh(WINDOW))
    window.integers[:, 2], window.sums[:, 2] = noise.integers[:, 2], noise.sums[:, 2]
    found = told(agreeing, window)
    assert found.label == UNKNOWN
    assert "no known fault fits" in found.evidence[0]
    said = re.fullmatch(r"the nearest known fault, .+, explains (\d+)% of the change", found.evidence[-1])
    assert said is not None and int(said[1]) < 50
    assert set(found.scores) == {one.label for one in agreeing.signatures.faults}


def test_gates_that_are_all_far_off_are_another_models(agreeing: Subject) -> None:
    rng = np.random.default_rng(10)
    found = told(agreeing, counted(agreeing, np.tanh(rng.normal(0, 3, (WINDOW, 2 * LAYERS, CLIPS)))))
    assert found.label == ANOTHER_MODEL
    assert re.match(r"\d of 6 gates are far beyond their thresholds", found.evidence[0])


@pytest.mark.parametrize(("videos", "share"), [(1, "2.0%"), (25, "50.0%"), (50, "100.0%")])
def test_gates_that_are_no_numbers_are_told_before_anything_else(
    agreeing: Subject, videos: int, share: str
) -> None:
    broken = agreeing.counts(fresh(WINDOW), ZERO)
    broken.integers[:videos, 4] = 0
    broken.integers[:videos, 4, -10] = CLIPS
    for found in (told(agreeing, broken, frozen=WINDOW), unnamed(agreeing, broken, WINDOW)):
        assert found.label == NOT_NUMBERS
        assert f"gates of {share} of the videos are NaN or infinite" in found.evidence[0]


def test_one_video_in_many_that_is_no_number_is_not_none_in_a_hundred(agreeing: Subject) -> None:
    reading = WindowReading("nan", "attention", 0, 500, 0.002, 0.0, 0.002, 0.0, 1.0)
    found = told(agreeing, agreeing.counts(fresh(2)), readings=[reading])
    assert "gates of 0.2% of the videos" in found.evidence[0]


def test_frozen_gates_are_told_with_and_without_signatures(agreeing: Subject, usual: VideoCounts) -> None:
    window = usual[np.repeat(np.arange(10), 5)]
    for found in (told(agreeing, window, frozen=40), unnamed(agreeing, window, 40)):
        assert found.label == FROZEN
        assert "80% of the videos have exactly the gates of the one before" in found.evidence[0]


def test_gates_that_freeze_because_a_fault_takes_all_that_differs_are_called_by_the_fault() -> None:
    """Without sound this model's gates are the same in all videos."""
    loudness = Subject(Loudness())
    broken = loudness.counts(fresh(WINDOW), ZERO)
    assert told(loudness, broken, frozen=WINDOW - 1).label == ZERO
    assert "nearly as likely" in " ".join(told(loudness, broken).evidence)
    assert SILENT in sentence(told(loudness, broken), "it looks like")
    assert unnamed(loudness, broken, WINDOW - 1).label == FROZEN


def test_gates_that_stand_still_are_constant_where_no_fault_explains_them(agreeing: Subject) -> None:
    rng = np.random.default_rng(11)
    still = np.repeat(rng.uniform(-0.6, 0.9, (WINDOW, 2 * LAYERS, 1)), CLIPS, axis=2)
    for found in (told(agreeing, counted(agreeing, still)), unnamed(agreeing, counted(agreeing, still))):
        assert found.label == CONSTANT
        assert "6 of 6 gates do not change over their videos' clips" in found.evidence[0]


def test_a_few_gates_that_stand_still_are_not_a_constant_model(agreeing: Subject) -> None:
    window = agreeing.counts(fresh(WINDOW))
    still = counted(agreeing, np.full((WINDOW, 2 * LAYERS, CLIPS), 0.7))
    window.integers[:, :2], window.sums[:, :2] = still.integers[:, :2], still.sums[:, :2]
    assert unnamed(agreeing, window).label == UNKNOWN


def test_the_same_window_gets_the_same_diagnosis(agreeing: Subject) -> None:
    broken = agreeing.counts(fresh(WINDOW), SHUFFLED)
    assert told(agreeing, broken) == told(agreeing, broken)


def watch(subject: Subject, *parts: VideoCounts) -> list[tuple[int, Alarm]]:
    """A watcher's alarms, each with the number of videos it came after."""
    watcher, alarms = Watcher(subject.watched), []
    stream = VideoCounts.joined(parts)
    for number, video in enumerate(observed(stream, range(len(stream))), 1):
        alarms += [(number, alarm) for alarm in watcher.see([video], now=number / 10)]
    return alarms


def test_videos_that_are_legitimately_silent_are_no_fault(agreeing: Subject, usual: VideoCounts) -> None:
    """One in twelve, as in the baseline; and as many silent ones again, close together."""
    assert watch(agreeing, usual) == []
    silent = agreeing.counts(fresh(4), SILENT)
    assert watch(agreeing, usual[:150], silent[:2], usual[150:250], silent[2:], usual[250:]) == []


@pytest.mark.parametrize("label", [SILENT, SHUFFLED])
def test_a_stream_that_breaks_is_alarmed_with_the_faults_name(
    agreeing: Subject, usual: VideoCounts, label: str
) -> None:
    alarms = watch(agreeing, usual[:100], agreeing.counts(fresh(100), label))
    assert [alarm.state for _, alarm in alarms] == ["firing"] * len(alarms) and alarms
    assert alarms[0][0] <= 200 and alarms[-1][1].diagnosis.label == label
