"""Samples that a run saw in part are counted and named, in the command, in run.json and in the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gatescope.analysis.report.warnings import run_warnings
from gatescope.analysis.statistics.summary import summarise
from gatescope.runtime.cli.main import main
from gatescope.runtime.runs.coverage import Covered, expected_clips, find_shortfalls, shortfall_text
from gatescope.runtime.runs.info import read_info
from gatescope.runtime.runs.reader import open_run
from tests.runtime.tiny_case import TinyCase
from tests.runtime.tiny_model import tiny_manifest

RECIPE = replace(
    tiny_manifest().preprocessing, clip_length=2.0, max_v_l=75, clamp_seconds=150.0, dataset="hl"
)


def covered(video: int, audio: int, duration: float) -> Covered:
    used = min(video, audio, RECIPE.max_v_l)
    return Covered("a", video, audio, used, expected_clips(RECIPE, duration), duration)


@pytest.mark.parametrize(
    ("video", "audio", "duration", "kinds"),
    [
        (75, 75, 150, []),
        (75, 74, 150, []),  # one clip of difference is normal, in each direction and measure
        (76, 76, 151, []),
        (74, 75, 150, []),
        (75, 75, 151.5, []),
        (75, 73, 150, ["audio"]),
        (75, 33, 150, ["audio"]),
        (75, 1, 150, ["audio"]),
        (150, 76, 150, ["cut"]),
        (150, 150, 300, ["cut", "windows"]),
        (150, 33, 300, ["audio", "cut", "windows"]),
        (60, 60, 150, ["features"]),
        (73, 73, 150, ["features"]),
        (75, 75, 160, ["features", "windows"]),
    ],
)
def test_what_is_not_covered(video: int, audio: int, duration: float, kinds: list[str]) -> None:
    found = find_shortfalls(RECIPE, [covered(75, 75, 150), covered(video, audio, duration)])
    assert [one.kind for one in found] == kinds
    assert all(one.samples == 1 and one.examples == (covered(video, audio, duration),) for one in found)


def test_a_recipe_without_a_clamp_or_a_clip_length_says_nothing_of_them() -> None:
    free = replace(RECIPE, clamp_seconds=None, max_v_l=1000)
    assert find_shortfalls(free, [Covered("a", 150, 150, 150, 150, 300)]) == ()
    clips = replace(free, dataset="tvsum")
    assert expected_clips(clips, 150) == 150  # TVSum's durations count clips
    assert expected_clips(replace(RECIPE, clip_length=0.0), 150) == 0


def test_many_samples_are_counted_and_a_few_named() -> None:
    many = [replace(covered(75, 33, 150), sample_id=str(number)) for number in range(50)]
    (found,) = find_shortfalls(RECIPE, many)
    assert (found.samples, len(found.examples)) == (50, 20)
    assert shortfall_text(found, 1234, RECIPE) == (
        "50 of 1,234 samples: the audio ends before the video, and what comes after it was left out: "
        "0 (audio of 33 of 75 clips), 1 (audio of 33 of 75 clips), 2 (audio of 33 of 75 clips) and 47 more"
    )


def test_a_run_says_which_samples_it_saw_in_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = TinyCase(tmp_path)
    vid = str(case.data.rows[0]["vid"])
    np.save(case.data.audio(vid), np.load(case.data.audio(vid))[:2])  # of 5 clips
    rows = [row | {"duration": 2.0 * case.data.lengths[str(row["vid"])][0]} for row in case.data.rows]
    rows[-1]["duration"] = 300.0
    case.data.annotations.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    command = ["run", str(case.model), "--annotations", str(case.data.annotations), "--device", "cpu"]
    assert main([*command, "--features", str(case.data.root), "--output", str(case.output)]) == 0
    said = capsys.readouterr().out
    of_video = [str(row["qid"]) for row in rows if row["vid"] == vid]
    assert f"note: {len(of_video)} of 7 samples: the audio ends before the video" in said
    assert f"{of_video[0]} (audio of 2 of 5 clips)" in said
    assert (
        f"1 of 7 samples: predicted windows are clamped before the video ends: {rows[-1]['qid']} (300 s)"
        in said
    )
    kept = {one.kind: one for one in read_info(case.output).coverage}
    assert [one.sample_id for one in kept["audio"].examples] == of_video
    assert (kept["audio"].examples[0].used, kept["audio"].examples[0].expected) == (2, 5)
    assert set(kept) == {"audio", "features", "windows"}
    run = open_run(case.output)
    warnings = run_warnings(run, summarise(run))
    assert any(f"{of_video[0]} (audio of 2 of 5 clips)" in text for text in warnings)
