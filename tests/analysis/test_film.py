"""Reports of gates that act as 1 + g (FiLM): nothing in them says that a gate at 0 leaves its branch out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gatescope.analysis.comparison.diff import diff_runs
from gatescope.analysis.comparison.run_gates import compare_gates
from gatescope.analysis.comparison.runs import comparison_warnings, run_settings
from gatescope.analysis.overview.answers import answers_chapter
from gatescope.analysis.overview.reading import limits_chapter, saying_chapter
from gatescope.analysis.report.chapter import Chapter
from gatescope.analysis.report.context import Context
from gatescope.analysis.report.warnings import run_warnings
from gatescope.analysis.statistics.summary import summarise
from gatescope.analysis.statistics.videos import videos_of
from gatescope.analysis.timelines.exemplars import choose_exemplars
from gatescope.runtime.gates.manifest import Manifest
from gatescope.runtime.runs.reader import Run
from tests.analysis.runs import manifest_of, random_gates, write_run

CLOSED = re.compile(
    r"leaves it out|closed|most open|least open|widest open|branch is subtracted|branch is added"
)
LEVELS = {"near 0": 0.01, "positive": 0.4, "negative": -0.4}


def film_manifest(*kinds: str, layers: int = 2) -> Manifest:
    made = manifest_of("clipwise", layers)
    gates = tuple(replace(one, acts_as="1+g" if one.kind in kinds else "g") for one in made.gates)
    return replace(made, gates=gates)


def film_run(folder: Path, manifest: Manifest, level: float) -> Run:
    gates = {
        name: {kind: np.clip(values * 0.01 + level, -1, 1) for kind, values in own.items()}
        for name, own in random_gates(6).items()
    }
    return write_run(folder, gates, manifest=manifest)


def text_of(chapter: Chapter, run: Run) -> str:
    section = chapter(Context(run))
    assert section is not None
    return section.text


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kinds", [("ffn",), ("attention", "ffn")])
def test_no_word_of_closed_gates(tmp_path: Path, kinds: tuple[str, ...], level: str) -> None:
    run = film_run(tmp_path / "run", film_manifest(*kinds), LEVELS[level])
    summary = summarise(run)
    assert summary.film == set(kinds)
    text = text_of(saying_chapter, run)
    ffn = text[text.index("### ffn gate") :].split("###")[1]
    assert not CLOSED.search(ffn)
    assert "1 + g" in text
    assert {
        "near 0": "the branch enters as it is",
        "positive": "strengthens its branch: 1 + g is 1.40",
        "negative": "weakens its branch: 1 + g is 0.60",
    }[level] in ffn
    reasons = [
        reason
        for one in choose_exemplars(run.samples.collect(), summary.per_sample, film=summary.film)
        for reason in one.reasons
    ]
    assert not any(re.search("ffn gate (most|least) open", reason) for reason in reasons)
    if len(kinds) == 2:  # nothing is left of the words of a gate that acts as g
        assert not CLOSED.search(text.replace("−1 leaves it out", ""))
        assert not CLOSED.search(" ".join(reasons))
    assert "or the branch unchanged" in text_of(limits_chapter, run)


def test_gates_that_act_as_g_keep_their_words(tmp_path: Path) -> None:
    run = film_run(tmp_path / "run", film_manifest(), 0.01)
    text = text_of(saying_chapter, run)
    assert "a gate at 0 leaves it out" in text
    assert "1 + g" not in text
    assert "nearly closed" in text


def test_an_audio_gate_of_film_lets_the_audio_in(tmp_path: Path) -> None:
    run = film_run(tmp_path / "run", film_manifest("attention"), 0.01)
    text = text_of(answers_chapter, run)
    assert "enters whatever the gate is (it multiplies by 1 + g)" in text
    assert not CLOSED.search(text.split("What cannot")[0])


def test_runs_whose_gates_act_otherwise_are_told_apart(tmp_path: Path) -> None:
    gates = random_gates(3)
    runs = [
        write_run(tmp_path / name, gates, manifest=manifest)
        for name, manifest in (
            ("film", film_manifest("ffn")),
            ("plain", film_manifest()),
            ("old", replace(film_manifest(), family="sigmoid", format_version=1)),
        )
    ]
    settings = [run_settings(run)["what multiplies a branch"] for run in runs]
    assert settings == ["attention g, ffn 1+g", "attention g, ffn g", "attention g, ffn g (assumed)"]
    found = diff_runs(runs[0], runs[1])
    assert ("what multiplies a branch", *settings[:2]) in found.settings
    assert any("did not say" in one for one in run_warnings(runs[2], summarise(runs[2])))
    names = ["film", "plain", "old"]
    videos = [videos_of(run.samples.collect()) for run in runs]
    warnings = comparison_warnings(
        names, runs, compare_gates(names, [summarise(run) for run in runs], videos), {}
    )
    assert any("differ in what multiplies a gate's branch" in one for one in warnings)
    assert any(one.startswith("old: An earlier version") for one in warnings)


def test_gates_beyond_their_declared_range_are_named(tmp_path: Path) -> None:
    """As a tracker records them where they were overridden."""
    inside = film_run(tmp_path / "inside", film_manifest(), 0.2)
    assert run_warnings(inside, summarise(inside)) == []
    gates = tuple(replace(one, range=(-0.1, 0.1)) for one in inside.manifest.gates)
    beyond = film_run(tmp_path / "beyond", replace(inside.manifest, gates=gates), 0.2)
    found = run_warnings(beyond, summarise(beyond))
    assert len(found) == 2
    assert "beyond the range that the model declares, -0.1 to 0.1" in found[0]
    assert "overridden" in found[0]
