"""Windows of which half is from before the fault, and what must make no difference to a diagnosis."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from gatescope.runtime.monitor.alarm import Diagnosis
from gatescope.runtime.monitor.counting.videos import VideoCounts
from gatescope.runtime.monitor.diagnosis.diagnose import diagnose
from gatescope.runtime.monitor.diagnosis.signatures import Signatures
from gatescope.runtime.monitor.learning.injections import LABELS, SHUFFLED, SILENT

from ....torture.agreeing_model import AgreeingModel
from .subjects import BASELINE, VARIANTS, WINDOW, Subject


@pytest.fixture(scope="module")
def agreeing() -> Subject:
    return Subject(AgreeingModel())


def half_broken(subject: Subject, label: str, variant: str = "") -> VideoCounts:
    """As many videos with the fault as without, none of them known to the signatures."""
    usual = subject.counts(range(BASELINE, BASELINE + WINDOW // 2))
    return VideoCounts.joined([usual, subject.counts(range(700, 700 + WINDOW // 2), label, variant)])


def told(subject: Subject, window: VideoCounts, signatures: Signatures | None = None) -> Diagnosis:
    known = subject.signatures if signatures is None else signatures
    beyond = subject.beyond(window)
    return diagnose(known, subject.model.layout, subject.baseline.videos.counts, window, beyond)


@pytest.mark.parametrize(("label", "variant"), VARIANTS)
def test_a_window_half_of_which_is_from_before_the_fault_has_its_name(
    agreeing: Subject, label: str, variant: str
) -> None:
    found = told(agreeing, half_broken(agreeing, label, variant))
    assert found.label == label
    assert any("of the window's videos have it" in one for one in found.evidence)


def test_every_label_is_among_those_that_are_mixed() -> None:
    assert {label for label, _ in VARIANTS} == set(LABELS)


@pytest.mark.parametrize("label", LABELS)
def test_signatures_that_were_stored_and_read_again_say_the_same(agreeing: Subject, label: str) -> None:
    stored = Signatures.from_plain(json.loads(json.dumps(agreeing.signatures.to_plain())))
    window = half_broken(agreeing, label)
    found, again = told(agreeing, window), told(agreeing, window, stored)
    assert (again.label, again.evidence) == (found.label, found.evidence)
    assert again.scores == pytest.approx(found.scores, rel=1e-3, abs=0.05)


@pytest.mark.parametrize("label", [SILENT, SHUFFLED])
def test_the_order_of_the_videos_makes_no_difference(agreeing: Subject, label: str) -> None:
    window = half_broken(agreeing, label)
    found = told(agreeing, window)
    mixed = told(agreeing, window[np.random.default_rng(3).permutation(len(window))])
    assert (mixed.label, mixed.evidence) == (found.label, found.evidence)
    assert mixed.scores == pytest.approx(found.scores, rel=1e-6, abs=0.01)


def test_the_order_of_the_faults_makes_no_difference(agreeing: Subject) -> None:
    own = agreeing.signatures
    turned = replace(own, faults=own.faults[::-1])
    for label in LABELS:
        window = half_broken(agreeing, label)
        assert told(agreeing, window, turned) == told(agreeing, window)
