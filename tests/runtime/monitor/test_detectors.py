"""The table of detectors: complete, and read by everything that speaks of a detector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from gatescope.runtime.monitor.alarm import AlarmKind
from gatescope.runtime.monitor.baseline.stored import load_baseline
from gatescope.runtime.monitor.detectors import DETECTORS, DISTANCES, FLAGS, REPEATED
from gatescope.runtime.monitor.metrics.definitions import ALARM_FIRING

from .commands.world import write_baseline


def test_every_kind_of_alarm_is_a_detector_and_nothing_else_is() -> None:
    assert tuple(DETECTORS) == get_args(AlarmKind)
    measured = {kind for kind, one in DETECTORS.items() if one.measure is not None}
    assert measured == {*DISTANCES, *FLAGS, *REPEATED}


@pytest.mark.parametrize("part", ["flag", "distance"])
def test_a_baseline_from_before_a_detector_gets_its_threshold_when_it_is_loaded(
    tmp_path: Path, part: str
) -> None:
    path = write_baseline(tmp_path / "baseline.json")
    before = load_baseline(path)
    plain = json.loads(path.read_text(encoding="utf-8"))
    for own in plain["thresholds"].values():
        for one in own:
            if part == "flag":
                del one["flags"]["constant"]
            else:
                del one["centre"][1], one["spread"][1]
    path.write_text(json.dumps(plain), encoding="utf-8")
    for made, kept in zip(load_baseline(path).thresholds[""], before.thresholds[""], strict=True):
        assert np.array_equal(made.flags["constant"], kept.flags["constant"])
        assert np.array_equal(made.centre, kept.centre) and made.factor == kept.factor


def test_a_query_names_only_labels_that_the_metric_has() -> None:
    assert ALARM_FIRING.select(kind="drift", not_slice="") == (
        'gatescope_alarm_firing{kind="drift", slice!=""}'
    )
    with pytest.raises(ValueError, match="no label 'window'"):
        ALARM_FIRING.select(window="25")
