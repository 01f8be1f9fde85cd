"""Features of a video's gates against slow counting, and rows that hold no number."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from gatescope.runtime.monitor.counting.layout import GateLayout
from gatescope.runtime.monitor.counting.videos import VideoCounts, count_gates
from gatescope.runtime.monitor.diagnosis.features import NAMES, gate_features

RANGES = [(-1.0, 1.0), (0.0, 1.0), (-0.5, 1.5)]
LAYOUT = GateLayout.of([("attention", layer, low, high) for layer, (low, high) in enumerate(RANGES)])


def gates(videos: int = 5, clips: int = 40, channels: int = 1) -> np.ndarray:
    """(videos, 3, clips, channels): of each row some values beyond the range."""
    rng = np.random.default_rng(1)
    low, high = (np.array([one[at] for one in RANGES])[None, :, None, None] for at in (0, 1))
    shares = rng.uniform(-0.05, 1.05, (videos, len(RANGES), clips, channels))
    return (low + (high - low) * shares).astype(np.float32)


def counted(made: np.ndarray) -> VideoCounts:
    return count_gates(LAYOUT, {"attention": made})


def by_hand(values: np.ndarray, low: float, high: float) -> dict[str, float]:
    """Features of one video's row, ``values`` (clips,) all finite, one value at a time."""
    width, told = high - low, [float(one) for one in values]
    mean = sum(told) / len(told)
    found = {
        "mean": mean / width,
        "spread": (sum((one - mean) ** 2 for one in told) / len(told)) ** 0.5 / width,
        "variation": sum(abs(b - a) for a, b in pairwise(told)) / len(told) / width,
        "near_zero": sum(abs(one) < 0.05 for one in told) / len(told),
        "saturated": sum(_saturated(one, low, high) for one in told) / len(told),
    }
    for part in range(8):
        inside = [min(max(int((one - low) / width * 8 // 1), 0), 7) == part for one in told]
        found[f"part{part}"] = sum(inside) / len(told)
    return found


def _saturated(value: float, low: float, high: float) -> bool:
    """A signed gate from 95 % of either end on, another within 5 % of its scale of either end."""
    margins = (-0.05 * low, 0.05 * high) if low < 0 else (0.05 * (high - low),) * 2
    return value <= np.float32(low + margins[0]) or value >= np.float32(high - margins[1])


def test_every_feature_is_what_slow_counting_gives() -> None:
    made = gates()
    found = gate_features(LAYOUT, counted(made)).reshape(len(made), len(RANGES), len(NAMES))
    for video in range(len(made)):
        for row, (low, high) in enumerate(RANGES):
            expected = by_hand(made[video, row, :, 0], low, high)
            told = dict(zip(NAMES, found[video, row].tolist(), strict=True))
            assert told == pytest.approx(expected, rel=1e-5, abs=1e-6)
            assert sum(told[f"part{part}"] for part in range(8)) == pytest.approx(1)


def test_features_of_all_rows_follow_each_other_video_by_video() -> None:
    made = gates()
    found = gate_features(LAYOUT, counted(made))
    assert found.shape == (5, len(RANGES) * len(NAMES))
    for video in range(5):
        assert np.array_equal(gate_features(LAYOUT, counted(made[video : video + 1]))[0], found[video])


def test_several_channels_are_values_of_one_gate() -> None:
    made = gates(channels=6)
    found = gate_features(LAYOUT, counted(made)).reshape(5, len(RANGES), len(NAMES))
    alike = gate_features(LAYOUT, counted(made.reshape(5, len(RANGES), -1, 1))).reshape(found.shape)
    others = [at for at, name in enumerate(NAMES) if name != "variation"]
    np.testing.assert_allclose(found[..., others], alike[..., others], rtol=1e-5)
    # From clip to clip their mean changes, on the same scale whatever their number.
    means = gate_features(LAYOUT, counted(made.mean(-1, keepdims=True))).reshape(found.shape)
    at = NAMES.index("variation")
    np.testing.assert_allclose(found[..., at], means[..., at], rtol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_without_a_finite_value_is_zero_and_the_others_are_as_before(value: float) -> None:
    made = gates()
    before = gate_features(LAYOUT, counted(made)).reshape(5, len(RANGES), len(NAMES))
    made[2, 1] = value
    found = gate_features(LAYOUT, counted(made)).reshape(before.shape)
    assert not found[2, 1].any()
    before[2, 1] = 0
    np.testing.assert_allclose(found, before, rtol=1e-5)


def test_single_values_that_are_no_numbers_do_not_count() -> None:
    made = gates()
    made[0, :, :10] = np.nan
    found = gate_features(LAYOUT, counted(made))[:1]
    without = gate_features(LAYOUT, counted(made[:1, :, 10:])).reshape(len(RANGES), len(NAMES))
    told = found.reshape(without.shape)
    others = [at for at, name in enumerate(NAMES) if name != "variation"]
    np.testing.assert_allclose(told[:, others], without[:, others], rtol=1e-5)


def test_no_video_has_no_features() -> None:
    assert gate_features(LAYOUT, VideoCounts.empty(LAYOUT)).shape == (0, len(RANGES) * len(NAMES))
