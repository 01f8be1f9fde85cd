"""Planted events: read from annotations, compared with gates by the area under the ROC curve."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.analysis.events.planted import planted_events
from gatescope.analysis.events.recovery import recover_events, why_no_recovery
from gatescope.runtime.errors import DatasetError

from .runs import manifest_of, random_gates, write_run


def annotations(path: Path, *rows: dict[str, Any]) -> Path:
    full = [{"query": "q", "vid": f"v-{row['qid']}", "duration": 150, **row} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in full), encoding="utf-8")
    return path


def area(values: np.ndarray, labels: np.ndarray) -> float:
    """The share of pairs (event, other) in which the event has the larger value; ties count half."""
    event, other = values[labels][:, None], values[~labels][None, :]
    return float(np.mean((event > other) + 0.5 * (event == other)))


def test_events_are_read_by_qid(tmp_path: Path) -> None:
    path = annotations(
        tmp_path / "val.jsonl",
        {"qid": 7, "gatescope_events": [3, 4]},
        {"qid": "8", "gatescope_events": []},
        {"qid": 9},
        {"qid": 10, "query": "speaks of gatescope_events"},
    )
    assert planted_events(path) == {"7": frozenset([3, 4]), "8": frozenset()}


@pytest.mark.parametrize("value", ["3", 3, [1.5], [True], [-1], {"a": 1}, None])
def test_events_that_are_no_clips_are_refused(tmp_path: Path, value: Any) -> None:
    path = annotations(tmp_path / "val.jsonl", {"qid": 6}, {"qid": 7, "gatescope_events": value})
    with pytest.raises(DatasetError, match="gatescope_events in line 2"):
        planted_events(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_areas_equal_the_share_of_ordered_pairs(tmp_path: Path, channels: int) -> None:
    gates = random_gates(4, 2, clips=20, channels=channels)
    events = {name: frozenset(range(number, 15, 3)) for number, name in enumerate(gates)}
    found = recover_events(write_run(tmp_path / "run", gates), events)
    labels = np.concatenate([np.isin(np.arange(20), list(clips)) for clips in events.values()])
    for row in found.gates.iter_rows(named=True):
        values = np.concatenate(
            [own[row["gate"]][row["layer"]].mean(axis=1, dtype=float) for own in gates.values()]
        )
        assert row["auc"] == pytest.approx(area(values.astype(np.float32), labels), abs=1e-12)
        assert row["auc_abs"] == pytest.approx(area(np.abs(values.astype(np.float32)), labels), abs=1e-12)
    assert (found.videos, found.clips, found.event_clips) == (4, 80, int(labels.sum()))


def test_gates_that_open_on_the_event_are_perfect(tmp_path: Path) -> None:
    gates = random_gates(3, 1, clips=12)
    for own in gates.values():
        own["attention"][0, 4:6] = 0.9999
        own["ffn"][0, 4:6] = -0.9999
    found = recover_events(write_run(tmp_path / "run", gates), dict.fromkeys(gates, frozenset([4, 5])))
    assert found.gates["auc"].to_list() == [1.0, 0.0]
    assert found.gates["auc_abs"].to_list() == [1.0, 1.0]


def test_a_video_counts_once_unless_its_gates_depend_on_the_query(tmp_path: Path) -> None:
    gates = random_gates(2, 1, clips=10)
    gates["1001"] = gates["1000"]
    events = dict.fromkeys(gates, frozenset([1, 2]))
    videos = {"1000": "a", "1001": "a"}
    shared = recover_events(write_run(tmp_path / "shared", gates, videos=videos), events)
    assert (shared.videos, shared.clips) == (1, 10)
    manifest = replace(manifest_of("clipwise", 1), depends_on_text=True)
    own = recover_events(write_run(tmp_path / "own", gates, videos=videos, manifest=manifest), events)
    assert own.clips == 20
    assert own.gates["auc"].to_list() == pytest.approx(shared.gates["auc"].to_list())


def test_queries_of_a_video_must_agree(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", random_gates(2), videos={"1000": "a", "1001": "a"})
    with pytest.raises(DatasetError, match="'a' name different event clips"):
        recover_events(run, {"1000": frozenset([1]), "1001": frozenset([2])})


def test_why_there_is_nothing_to_compare(tmp_path: Path) -> None:
    clipwise = write_run(tmp_path / "clipwise", random_gates(2))
    assert "None of the run's queries" in (why_no_recovery(clipwise, {"5": frozenset([1])}) or "")
    assert why_no_recovery(clipwise, {"1000": frozenset([1])}) is None
    whole = write_run(tmp_path / "global", random_gates(2, clips=1))
    assert "no clips to compare" in (why_no_recovery(whole, {"1000": frozenset([1])}) or "")


def test_nan_gates_are_left_out_and_no_event_has_no_area(tmp_path: Path) -> None:
    gates = random_gates(2, 1, clips=8)
    gates["1000"]["attention"][0, 0] = np.nan
    run = write_run(tmp_path / "run", gates)
    found = recover_events(run, {"1000": frozenset([0, 1]), "1001": frozenset([5])})
    values = np.concatenate([gates["1000"]["attention"][0, 1:, 0], gates["1001"]["attention"][0, :, 0]])
    labels = np.concatenate([np.arange(1, 8) == 1, np.arange(8) == 5])
    assert found.gates["auc"][0] == pytest.approx(area(values, labels))
    nothing = recover_events(run, dict.fromkeys(gates, frozenset[int]()))
    assert all(np.isnan(value) for value in nothing.gates["auc"])
