"""Where a diagnosis tips over: faults made to measure, a little this side of each limit and that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from gatescope.runtime.monitor.alarm import AlarmKind, Diagnosis, WindowReading
from gatescope.runtime.monitor.counting.videos import VideoCounts
from gatescope.runtime.monitor.diagnosis.diagnose import ANOTHER_MODEL, CONSTANT, FROZEN, UNKNOWN, diagnose
from gatescope.runtime.monitor.diagnosis.features import gate_features
from gatescope.runtime.monitor.diagnosis.signatures import Signature, Signatures
from gatescope.runtime.monitor.learning.injections import LABELS

from ....torture.population import LAYOUT, population

REFERENCE, WINDOW, LEARNED = 300, 50, 80
ROWS = [(row.kind, row.layer) for row in LAYOUT.rows]
USUAL = population(REFERENCE, np.random.default_rng(31))


@dataclass(frozen=True)
class Change:
    """From 300 usual videos to a window of 50, in units of how much each feature usually varies."""

    window: VideoCounts
    scale: np.ndarray
    along: np.ndarray

    @property
    def across(self) -> np.ndarray:
        """As long as the change, at a right angle to it."""
        other = np.random.default_rng(32).normal(0, 1, len(self.along))
        other -= self.along * (other @ self.along) / (self.along @ self.along)
        return other * np.linalg.norm(self.along) / np.linalg.norm(other)

    def fault(self, label: str, beside: float, along: float = 1.0) -> Signature:
        """Moves the gates by ``along`` of the change and by ``beside`` of its length in another direction."""
        shift = (along * self.along + beside * self.across) * self.scale
        return Signature(label, "made to measure", shift, np.zeros((len(shift),) * 2), power=9.0)

    def told(self, faults: Sequence[Signature] | None, readings: Sequence[WindowReading] = ()) -> Diagnosis:
        features = len(self.along)
        known = None if faults is None else Signatures(LEARNED, np.zeros((features, features)), tuple(faults))
        return diagnose(known, LAYOUT, USUAL, self.window, readings)


@pytest.fixture(scope="module")
def change() -> Change:
    window = population(WINDOW, np.random.default_rng(33), shift=0.3)
    usual, seen = gate_features(LAYOUT, USUAL), gate_features(LAYOUT, window)
    centre = usual.sum(axis=0) / REFERENCE
    variance = ((usual - centre) ** 2).sum(axis=0) / (REFERENCE - 1)
    scale = np.sqrt(np.maximum(variance, 1e-6))
    return Change(window, scale, (seen.sum(axis=0) / WINDOW - centre) / scale)


def reading(kind: AlarmKind, row: int, value: float = 1.0, excess: float = 1.0) -> WindowReading:
    gate, layer = ROWS[row]
    return WindowReading(kind, gate, layer, WINDOW, value, 0.0, 0.1, 0.0, excess)


FAR_KINDS: tuple[AlarmKind, ...] = ("level", "drift", "collapse")
FREEZES = WindowReading("frozen", None, None, WINDOW, 0.8, 0.0, 0.1, 0.0, 8.0)


@pytest.mark.parametrize(
    ("beside", "named"), [(0.0, True), (0.5, True), (0.95, True), (1.05, False), (3.0, False)]
)
def test_a_fault_is_named_where_it_explains_half_of_the_change(
    change: Change, beside: float, named: bool
) -> None:
    """The best share s of it leaves (1 - s)² + s² · beside² of the change."""
    best = max(0.0, *(1 - (1 - s) ** 2 - (s * beside) ** 2 for s in np.arange(3, 11) / 10))
    found = change.told([change.fault("made", beside)])
    assert found.label == ("made" if named else UNKNOWN)
    assert f"explains {best:.0%} of the change" in found.evidence[0 if named else -1]


def test_a_fault_that_moves_the_gates_the_other_way_explains_nothing(change: Change) -> None:
    found = change.told([change.fault("made", 0.0, along=-1.0)])
    assert found.label == UNKNOWN and found.evidence[-1].endswith("explains 0% of the change")


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_the_share_of_the_window_is_the_one_that_fits_best(change: Change, share: float) -> None:
    found = change.told([change.fault("made", 0.0, along=1 / share)])
    assert found.label == "made"
    assert f"about {share:.0%} of the window's videos have it" in found.evidence


@pytest.mark.parametrize(("beside", "label"), [(0.25, "made"), (0.5, FROZEN), (1.5, FROZEN)])
def test_frozen_gates_are_a_faults_only_where_it_explains_nine_tenths(
    change: Change, beside: float, label: str
) -> None:
    """A quarter beside leaves a sixteenth; half beside leaves a fifth at the best share."""
    assert change.told([change.fault("made", beside)], [FREEZES]).label == label


@pytest.mark.parametrize(("nats", "close"), [(1.0, True), (2.9, True), (3.1, False), (40.0, False)])
def test_another_fault_is_mentioned_within_three_nats_and_scored_by_the_gaussian(
    change: Change, nats: float, close: bool
) -> None:
    """Spreads of zero leave the floor, 5 %, times how certain means are: what lies beside costs by that."""
    certainty = 1 / WINDOW + 1 / REFERENCE + 1 / LEARNED + 0.02
    beside = float(np.sqrt(2 * nats * 0.05 * certainty) / np.linalg.norm(change.along))
    found = change.told([change.fault("other", beside), change.fault("made", 0.0)])
    assert found.label == "made" and found.scores["made"] == 0
    assert found.scores["other"] == pytest.approx(-nats, abs=0.002)
    assert ("nearly as likely: other" in found.evidence) is close


def test_of_each_label_the_likeliest_variant_counts_in_whatever_order_they_were_learned(
    change: Change,
) -> None:
    faults = [change.fault("made", 0.1), change.fault("other", 0.2), change.fault("made", 0.8)]
    found = change.told(faults)
    assert found.label == "made" and list(found.scores) == ["other", "made"]
    turned = change.told(faults[::-1])
    assert turned == found


def test_a_fault_that_varies_in_the_direction_of_what_is_left_is_likelier(change: Change) -> None:
    """Both faults leave the same of the change; one differs from video to video in just that direction."""
    flat = change.fault("flat", 0.3)
    across = change.across * change.scale
    wide = Signature("wide", "one", flat.shift, np.outer(across, across), power=9.0)
    found = change.told([flat, wide])
    assert found.label == "wide" and found.scores["flat"] < 0


@pytest.mark.parametrize(
    ("still", "label"), [(len(ROWS) // 2, CONSTANT), (len(ROWS) // 2 - 1, UNKNOWN), (len(ROWS), CONSTANT)]
)
@pytest.mark.parametrize("known", [True, False], ids=["signatures", "no signatures"])
def test_a_model_is_constant_from_half_of_its_gates_on(
    change: Change, still: int, label: str, known: bool
) -> None:
    readings = [reading("constant", row) for row in range(still)]
    found = change.told([change.fault("made", 3.0)] if known else None, readings)
    assert found.label == label
    assert (f"{still} of {len(ROWS)} gates do not change" in found.evidence[0]) is (label == CONSTANT)


@pytest.mark.parametrize(("share", "label"), [(0.5, CONSTANT), (0.49, UNKNOWN)])
def test_a_gate_is_constant_from_half_of_the_videos_on(change: Change, share: float, label: str) -> None:
    assert change.told(None, [reading("constant", row, share) for row in range(len(ROWS))]).label == label


def test_a_gate_that_is_read_twice_is_one_gate(change: Change) -> None:
    assert change.told(None, [reading("constant", 0), reading("level", 1)] * len(ROWS)).label == UNKNOWN
    far = [reading(kind, 0, excess=9.0) for kind in FAR_KINDS] * len(ROWS)
    assert change.told([change.fault("made", 3.0)], far).label == UNKNOWN


@pytest.mark.parametrize(
    ("far", "excess", "label"),
    [(8, 3.0, ANOTHER_MODEL), (7, 9.0, UNKNOWN), (8, 2.9, UNKNOWN)],
)
def test_another_model_is_nine_gates_of_ten_at_three_times_their_thresholds(
    change: Change, far: int, excess: float, label: str
) -> None:
    readings = [reading("drift", row, excess=excess) for row in range(far)]
    assert change.told([change.fault("made", 3.0)], readings).label == label


def test_frozen_comes_before_constant_and_both_before_another_model(change: Change) -> None:
    everything = [reading("constant", row, excess=9.0) for row in range(len(ROWS))]
    for faults in (None, [change.fault("made", 3.0)]):
        assert change.told(faults, [*everything, FREEZES]).label == FROZEN
        assert change.told(faults, everything).label == CONSTANT


def test_without_a_reading_of_a_gate_no_gate_is_named(change: Change) -> None:
    found = change.told([change.fault(LABELS[0], 0.0)], [])
    assert found.evidence == (f"{LABELS[0]} (made to measure) explains 100% of the change",)
    assert not any(" gate of layer " in one for one in change.told(None, [FREEZES]).evidence)


def test_a_diagnosis_changes_nothing_that_it_is_given(change: Change) -> None:
    readings = [reading("level", 3), FREEZES]
    fault = change.fault("made", 0.4)
    before = [array.copy() for array in (USUAL.sums, change.window.sums, fault.shift, fault.spread)]
    change.told([fault], readings)
    after = (USUAL.sums, change.window.sums, fault.shift, fault.spread)
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    assert readings == [reading("level", 3), FREEZES]
