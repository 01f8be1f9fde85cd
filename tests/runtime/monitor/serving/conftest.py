"""One baseline for the tests of sessions that are watched."""

from __future__ import annotations

import pytest

from gatescope.runtime.monitor.baseline.baseline import Baseline, make_baseline
from gatescope.runtime.monitor.baseline.videos import BaselineVideos
from gatescope.runtime.monitor.counting.videos import count_gates

from .test_alarms import LAYERS, MODEL, gates


@pytest.fixture(scope="session")
def baseline() -> Baseline:
    """Of 300 videos whose gates are about tanh(0.5)."""
    pool = gates(300, 1)
    counts = count_gates(MODEL.layout, {"attention": pool[:, :LAYERS], "ffn": pool[:, LAYERS:]})
    names = [f"b{number}" for number in range(300)]
    return make_baseline(MODEL, [BaselineVideos.of(MODEL.layout, names, names, [""] * 300, counts)])
