"""Which queries are shown one by one, and what their timelines hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from gatescope.analysis import summarise
from gatescope.analysis.evaluation.ground_truth import read_ground_truth
from gatescope.analysis.figures.style import png
from gatescope.analysis.figures.timeline import timeline_figure
from gatescope.analysis.report.context import AnalysisOptions, Context
from gatescope.analysis.timelines.chapter import timelines_chapter
from gatescope.analysis.timelines.exemplars import (
    MOST,
    choose_exemplars,
    exemplars_of,
    unusual_samples,
)
from gatescope.analysis.timelines.timeline import timelines

from .runs import random_gates, write_run


def annotate(path: Path, *rows: dict[str, Any]) -> Path:
    lines = [{"query": "words", "vid": "v", "duration": 20} | row for row in rows]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


def levels(values: dict[str, float], kind: str = "attention") -> pl.DataFrame:
    """``per_sample`` of one layer in which each sample's gate has one value."""
    rows = [(name, 0, kind, value, abs(value), 5) for name, value in values.items()]
    return pl.DataFrame(
        rows, schema=["sample_id", "layer", "gate", "mean", "mean_abs", "count"], orient="row"
    )


def queries(*rows: tuple[str, str, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["sample_id", "qid", "vid"], orient="row")


def test_most_and_least_open_one_a_video() -> None:
    values = {"a": 0.1, "b": 0.5, "c": -0.6, "d": -0.6, "e": 0.2, "f": 0.3, "g": 0.4}
    videos = {name: name for name in values} | {"d": "c"}
    chosen = choose_exemplars(queries(*((name, name, videos[name]) for name in values)), levels(values))
    assert [one.qid for one in chosen] == ["c", "b", "g", "a", "e", "f"]
    assert chosen[0].reasons == ("attention gate most open, mean |g| 0.600",)
    assert chosen[3].reasons == ("attention gate least open, mean |g| 0.100",)


def test_asked_for_and_failing_queries() -> None:
    shared = queries(("v", "1", "v"), ("v", "2", "v"), ("w", "3", "w"))
    scores = pl.DataFrame({"qid": ["3", "2", "1"], "ap": [None, 0.0, 0.5], "iou": [None, 0.0, 0.4]})
    chosen = choose_exemplars(shared, levels({"v": 0.5, "w": 0.1}), asked=["v", "3"], per_query=scores)
    reasons = {one.qid: one.reasons for one in chosen}
    assert reasons["1"][0] == reasons["3"][0] == "asked for"
    assert reasons["2"] == ("asked for", "fails: AP 0.000, IoU of the top window 0.000")
    assert "attention gate most open, mean |g| 0.500" in reasons["1"]
    many = {str(number): 0.5 for number in range(MOST + 5)}
    everything = queries(*((name, name, name) for name in many))
    assert len(choose_exemplars(everything, levels(many), asked=["all"])) == MOST


def test_a_sample_far_from_the_rest_is_unusual() -> None:
    rng = np.random.default_rng(0)
    values = {str(number): float(value) for number, value in enumerate(rng.normal(0.2, 0.05, 50))}
    own = np.array([*values.values(), 0.9])
    found = unusual_samples(levels(values | {"odd": 0.9})).row(0, named=True)
    middle = np.median(own)
    distance = (0.9 - middle) / (1.4826 * np.median(np.abs(own - middle)))
    assert (found["sample_id"], found["middle"]) == ("odd", pytest.approx(middle))
    assert found["distance"] == pytest.approx(distance)
    assert unusual_samples(levels({"a": 0.1, "b": 0.1, "c": 0.101})).is_empty()


@pytest.mark.parametrize(("clips", "channels"), [(1, 1), (6, 1), (6, 8)])
def test_a_timeline_is_what_the_run_holds(tmp_path: Path, clips: int, channels: int) -> None:
    gates = random_gates(3, 2, clips=clips, channels=channels)
    predictions = {
        name: {
            "qid": int(name),
            "pred_relevant_windows": [[2.0, 4.0, 0.75]],
            "pred_saliency_scores": [0.5] * clips,
        }
        for name in gates
    }
    run = write_run(tmp_path / "run", gates, predictions=predictions)
    summary = summarise(run)
    samples = run.samples.collect()
    right = {"relevant_windows": [[0, 4]], "relevant_clip_ids": [1], "saliency_scores": [[1, 2, 3]]}
    truth = read_ground_truth(annotate(tmp_path / "a.jsonl", *({"qid": int(qid)} | right for qid in gates)))
    drawn = list(timelines(run, samples, choose_exemplars(samples, summary.per_sample), {}, truth))
    one = drawn[0]
    name = one.exemplar.sample_id
    for layer in range(2):
        shown = one.gates.filter(layer=layer, gate="ffn")
        np.testing.assert_allclose(shown["value"], gates[name]["ffn"][layer].mean(axis=1), rtol=1e-5)
    # Samples of `write_run` have 75 clips of 2 s; a gate of one clip stands for all of them.
    assert one.gates.filter(layer=0, gate="ffn")["end"][-1] == (150.0 if clips == 1 else 2.0 * clips)
    assert one.truth.rows() == [(0.0, 4.0, None)]
    assert one.rated.rows() == [(2.0, 4.0, 2.0)]
    assert one.predicted.rows() == [(2.0, 4.0, 0.75)]
    assert one.saliency["end"].to_list() == [2.0 * (clip + 1) for clip in range(clips)]
    figure = timeline_figure(
        one.gates,
        summary.ranges,
        "title",
        "below",
        truth=one.truth,
        predicted=one.predicted,
        saliency=one.saliency,
        rated=one.rated,
    )
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "",
        "layer 0",
        "layer 1",
        "saliency",
        "rated (dots)",
    ]
    assert len({axes.get_ylim() for axes in figure.axes[1:3]}) == 1
    png(figure)
    png(timeline_figure(one.gates, summary.ranges, "gates alone", ""))


def test_the_chapter_names_what_it_shows(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", random_gates(8, 1, clips=3))
    annotations = tmp_path / "val.jsonl"
    first = Context(run).once(exemplars_of)[0].qid
    annotations.write_text(
        json.dumps({"qid": first, "vid": "v", "query": "a|b <i>", "duration": 6}), encoding="utf-8"
    )
    section = timelines_chapter(Context(run, AnalysisOptions(annotations=annotations)))
    assert section is not None
    assert len(section.figures) == 6
    assert "a\\|b &lt;i&gt;" in section.text
