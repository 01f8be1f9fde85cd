"""Baselines from runs and logs, merged, stored, and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.runtime.errors import BaselineError
from gatescope.runtime.monitor.baseline.baseline import Baseline, make_baseline
from gatescope.runtime.monitor.baseline.sources import folder_kind, model_of_run, videos_of_log, videos_of_run
from gatescope.runtime.monitor.baseline.stored import load_baseline, save_baseline
from gatescope.runtime.monitor.baseline.videos import BaselineVideos, expected_twins, key_of
from gatescope.runtime.monitor.counting.layout import PLACES
from gatescope.runtime.monitor.counting.videos import VIDEO_COUNTERS, VideoCounts, count_gates
from gatescope.runtime.monitor.diagnosis.signatures import Signature, Signatures

from ....analysis.runs import manifest_of, write_run
from ....torture.population import LAYOUT, MODEL, observed, population

COUNTS = population(400, np.random.default_rng(4))
NAMES = [f"v{number}" for number in range(400)]


def videos(first: int, last: int, slice_: str = "") -> BaselineVideos:
    own = NAMES[first:last]
    return BaselineVideos.of(LAYOUT, own, own, [slice_] * len(own), COUNTS[first:last])


def same(one: VideoCounts, other: VideoCounts) -> bool:
    return np.array_equal(one.integers, other.integers) and np.array_equal(one.sums, other.sums)


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return make_baseline(MODEL, [videos(0, 250, "ko"), videos(250, 400, "en")], windows=(25, 50))


def test_a_run_is_counted_video_by_video(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    gates = {
        name: {kind: rng.uniform(-1, 1, (2, clips, 1)).astype(np.float32) for kind in ("attention", "ffn")}
        for name, clips in (("1", 5), ("2", 7), ("3", 5), ("4", 5))
    }
    run = write_run(tmp_path / "run", gates, videos={"1": "a", "2": "b", "3": "c", "4": "a"})
    found = videos_of_run(run)
    assert found.videos.tolist() == sorted(key_of(vid) for vid in "abc")
    layout = model_of_run(run).layout
    for vid, names in {"a": ("1", "4"), "b": ("2",), "c": ("3",)}.items():
        chosen = min(names, key=key_of)
        expected = count_gates(layout, {kind: array[None] for kind, array in gates[chosen].items()})
        at = found.videos.tolist().index(key_of(vid))
        assert same(found.counts[at : at + 1], expected)


@pytest.mark.parametrize("shape", [(2, 1, 1), (2, 6, 8)], ids=["global", "elementwise"])
def test_gates_of_other_shapes(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(6)
    gates = {
        name: {kind: rng.uniform(-1, 1, shape).astype(np.float32) for kind in ("attention", "ffn")}
        for name in "abc"
    }
    run = write_run(tmp_path / "run", gates)
    found = videos_of_run(run)
    assert len(found) == 3
    assert (found.counts.count == shape[1] * shape[2]).all()


def test_a_run_without_gates_is_no_baseline(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"1": {"attention": np.zeros((1, 2, 1), np.float32)}})
    empty = replace(run, record=replace(run.record, gates=False))
    with pytest.raises(BaselineError, match="holds no gates"):
        videos_of_run(empty)


def test_a_log_counts_each_id_once_and_every_nameless_request() -> None:
    traffic = observed(COUNTS, [0, 1, 2, 0, 1])
    named = [replace(video, sample_id=name) for video, name in zip(traffic, "abcab", strict=True)]
    assert len(videos_of_log(LAYOUT, iter(named))) == 3
    nameless = [replace(video, sample_id="") for video in traffic]
    assert len(videos_of_log(LAYOUT, iter(nameless))) == 5


def test_merged_in_any_order_the_videos_are_identical() -> None:
    parts = [videos(0, 100), videos(100, 260), videos(200, 400)]
    one = BaselineVideos.joined(parts)
    other = BaselineVideos.joined([BaselineVideos.joined(parts[:0:-1]), parts[0]])
    assert len(one) == 400
    assert np.array_equal(one.videos, other.videos)
    assert same(one.counts, other.counts)


def test_very_many_videos_are_an_even_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatescope.runtime.monitor.baseline.videos.MOST_VIDEOS", 50)
    whole = videos(0, 400)
    pieces = BaselineVideos.joined([videos(0, 130), videos(130, 400)])
    assert len(whole) == 50 and np.array_equal(whole.videos, pieces.videos)


def test_twins_are_expected_by_their_share() -> None:
    assert expected_twins(COUNTS) == 0
    ten_alike = VideoCounts.joined([COUNTS[:90], *[COUNTS[:1]] * 10])
    # Eleven of a hundred have the same gates: 11·10/99 pairs in a row, in a random order.
    assert expected_twins(ten_alike) == 1


def test_written_and_read_again_it_is_the_same(tmp_path: Path, baseline: Baseline) -> None:
    path = tmp_path / "b.json"
    save_baseline(baseline, path)
    back = load_baseline(path)
    assert back.model == baseline.model
    assert same(back.videos.counts, baseline.videos.counts)
    assert back.videos.slices.tolist() == baseline.videos.slices.tolist()
    assert back.slices == ("en", "ko") and back.missing == baseline.missing
    for window in (25, 50):
        for slice_ in ("", "en", "ko"):
            one, other = (b.thresholds_for(window, slice_) for b in (baseline, back))
            assert one.factor == other.factor and np.array_equal(one.spread, other.spread)
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["videos"] == 400 and told["totals"]["videos"] == 400
    assert told["slices"] == {"en": 150, "ko": 250}


def test_thresholds_of_another_window_are_computed(baseline: Baseline) -> None:
    assert baseline.thresholds_for(60).window == 60


def test_few_videos_are_refused_unless_one_insists() -> None:
    with pytest.raises(BaselineError, match="99 videos are too few") as caught:
        make_baseline(MODEL, [videos(0, 99)])
    assert "--insist" in str(caught.value)
    insisted = make_baseline(MODEL, [videos(0, 40)], windows=(25,), insist=True)
    assert len(insisted.videos) == 40
    with pytest.raises(BaselineError, match="1 videos are too few"):
        make_baseline(MODEL, [videos(0, 1)], insist=True)


def test_another_model_is_refused_and_another_export_is_not(baseline: Baseline) -> None:
    baseline.check_model(replace(MODEL, file="d" * 64), "the run")
    with pytest.raises(BaselineError, match="another model") as caught:
        baseline.check_model(replace(MODEL, checkpoint="d" * 64), "the run")
    assert "dddddddddddd, not cccccccccccc" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "is not a baseline"),
        ({"format_version": 99}, "newer gatescope"),
        ({"counts": {}}, "is damaged"),
        ({"model": {}}, "is damaged"),
        ({"thresholds": {"": [{}]}}, "is damaged"),
        ({"windows": None}, "is damaged"),
    ],
)
def test_what_is_no_baseline_is_refused(
    tmp_path: Path, baseline: Baseline, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "b.json"
    save_baseline(baseline, path)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(BaselineError, match=message):
        load_baseline(path)


def test_changed_counts_are_found(tmp_path: Path, baseline: Baseline) -> None:
    path = tmp_path / "b.json"
    save_baseline(baseline, path)
    told = json.loads(path.read_text(encoding="utf-8"))
    told["totals"]["integers"][0][3] += 1
    path.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(BaselineError, match="not those of its videos"):
        load_baseline(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"null"])
def test_damaged_files_are_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.json").write_bytes(content)
    with pytest.raises(BaselineError, match=r"damaged|not a baseline"):
        load_baseline(tmp_path / "b.json")


def test_faults_of_other_gates_are_damage(tmp_path: Path, baseline: Baseline) -> None:
    fault = Signature("silent audio", "all", np.zeros(13), np.eye(13), 9.0)
    save_baseline(replace(baseline, signatures=Signatures(50, np.eye(13), (fault,))), tmp_path / "b.json")
    with pytest.raises(BaselineError, match="13 features, expected 104"):
        load_baseline(tmp_path / "b.json")


def test_files_that_are_not_there_or_cannot_be_written(tmp_path: Path, baseline: Baseline) -> None:
    with pytest.raises(BaselineError, match="cannot be read"):
        load_baseline(tmp_path / "none.json")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(BaselineError, match="cannot be written"):
        save_baseline(baseline, tmp_path / "file" / "b.json")


def test_what_a_path_is(tmp_path: Path) -> None:
    write_run(
        tmp_path / "run",
        {"1": {"attention": np.zeros((1, 2, 1), np.float32)}},
        manifest=manifest_of("clipwise", 1),
    )
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "log.json").write_text("{}", encoding="utf-8")
    (tmp_path / "b.json").write_text("{}", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    assert [folder_kind(tmp_path / name) for name in ("run", "log", "b.json")] == ["run", "log", "baseline"]
    for name in ("empty", "none"):
        with pytest.raises(BaselineError, match="not a source of gates"):
            folder_kind(tmp_path / name)


def broken(counts: VideoCounts, rows: slice, videos: slice, counter: str) -> VideoCounts:
    """As if some videos' values in some rows were NaN or infinite."""
    integers = counts.integers.copy()
    at = PLACES + VIDEO_COUNTERS.index(counter)
    integers[videos, rows, at] = integers[videos, rows, :PLACES].sum(axis=-1)
    integers[videos, rows, :PLACES] = 0
    return VideoCounts(integers, counts.sums)


@pytest.mark.parametrize("counter", ["nan", "infinite"])
@pytest.mark.parametrize("insist", [False, True])
def test_gates_that_are_no_numbers_in_all_videos_make_no_baseline(counter: str, insist: bool) -> None:
    counts = broken(COUNTS, slice(1, 2), slice(None), counter)
    row = LAYOUT.rows[1]
    part = BaselineVideos.of(LAYOUT, NAMES, NAMES, [""] * 400, counts)
    with pytest.raises(BaselineError, match="gates of 400 of 400 videos are not finite") as caught:
        make_baseline(MODEL, [part], insist=insist)
    assert f"{row.kind} gates of layer {row.layer}: 400" in str(caught.value.received)
    assert "--insist" not in str(caught.value.fix)


def test_in_some_videos_they_are_named_and_left_out_on_request(tmp_path: Path) -> None:
    counts = broken(COUNTS, slice(0, 2), slice(3, 10), "nan")
    part = BaselineVideos.of(LAYOUT, NAMES, NAMES, [""] * 400, counts)
    # Also where they come by another baseline.
    for parts in ([part], [videos(100, 400), part.where(np.arange(400) >= 0)]):
        with pytest.raises(BaselineError, match="gates of 7 of 400") as caught:
            make_baseline(MODEL, parts)
        assert "--insist" in str(caught.value.fix)
    made = make_baseline(MODEL, [part], insist=True, windows=(25,))
    assert len(made.videos) == 393 and (made.thresholds_for(25).flags["nan"] == 1).all()


def test_one_such_video_alarms_whatever_an_older_baseline_says(tmp_path: Path, baseline: Baseline) -> None:
    save_baseline(baseline, tmp_path / "b.json")
    stored = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    for own in stored["thresholds"].values():
        for one in own:
            one["flags"]["nan"] = [26] * len(LAYOUT.rows)
    (tmp_path / "b.json").write_text(json.dumps(stored), encoding="utf-8")
    assert (load_baseline(tmp_path / "b.json").thresholds_for(25).flags["nan"] == 1).all()
