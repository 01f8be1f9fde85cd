"""Gates joined with results: rankings, failures, correlations, agreement and subsets, against plain numpy."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.image import imread
from scipy.stats import pearsonr, pointbiserialr, spearmanr

from gatescope.analysis import analyze_run, summarise
from gatescope.analysis.evaluation.ground_truth import read_ground_truth
from gatescope.analysis.queries.agreement import gate_agreement
from gatescope.analysis.queries.chapter import queries_chapter
from gatescope.analysis.queries.measures import Measure, distinct_measures, measures_of, query_measures
from gatescope.analysis.queries.rankings import ends_of_ranking, measure_means, sample_rankings
from gatescope.analysis.queries.results import failing, gate_correlations, gates_of_failing, worst_queries
from gatescope.analysis.report.context import AnalysisOptions, Context
from gatescope.analysis.subsets.chapter import subsets_chapter
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import DatasetError
from gatescope.runtime.runs.reader import Run

from .runs import Gates, manifest_of, random_gates, write_run
from .test_evaluation import lines, predicted, truth
from .test_events import area

MEAN = Measure("attention", 1, "mean")


def judged_run(folder: Path, samples: int = 24, **options: Any) -> tuple[Run, Gates, Path]:
    """A run with predictions of falling quality, two queries a video, and its annotations."""
    gates = random_gates(samples, 2, clips=30)
    windows = [[10, 30 + 2 * number, 0.9] for number in range(samples)]
    rows = [truth(int(qid), vid=f"v{int(qid) // 2}", query=f"query {qid} <b>|") for qid in gates]
    run = write_run(
        folder / "run",
        gates,
        videos={qid: f"v{int(qid) // 2}" for qid in gates},
        predictions={qid: predicted(int(qid), [own]) for qid, own in zip(gates, windows, strict=True)},
        **options,
    )
    return run, gates, lines(folder / "val.jsonl", rows)


def test_measures_are_means_over_layers_and_kinds(tmp_path: Path) -> None:
    run, gates, _ = judged_run(tmp_path, 4)
    summary = summarise(run)
    frame = query_measures(summary.per_sample, run.samples.collect(), measures_of(summary))
    for row, own in zip(frame.iter_rows(named=True), gates.values(), strict=True):
        means = {kind: own[kind].astype(float).mean(axis=(1, 2)) for kind in own}
        assert row["attention_layer1_mean"] == pytest.approx(means["attention"][1])
        assert row["ffn_mean"] == pytest.approx(means["ffn"].mean())
        assert row["combined_mean"] == pytest.approx((means["attention"].mean() + means["ffn"].mean()) / 2)
        assert row["attention_mean_abs"] == pytest.approx(np.abs(own["attention"]).mean())
    assert frame.width == 3 + 2 * 7
    one = summarise(write_run(tmp_path / "one", random_gates(2, 1)))
    assert [measure.name for measure in distinct_measures(one) if measure.statistic == "mean"] == [
        "combined_mean",
        "attention_mean",
        "ffn_mean",
    ]


def test_queries_of_one_sample_share_its_gates_and_count_once_in_means(tmp_path: Path) -> None:
    summary = summarise(write_run(tmp_path / "run", random_gates(3, 2, clips=4)))
    shared = pl.DataFrame(
        {"qid": ["a", "b", "c", "d"], "sample_id": ["1000", "1000", "1001", "1002"], "vid": list("xxyz")}
    )
    frame = query_measures(summary.per_sample, shared, [MEAN])
    assert frame["qid"].to_list() == ["a", "b", "c", "d"]
    assert frame[MEAN.name][0] == frame[MEAN.name][1]
    means = measure_means(frame, [MEAN])
    assert means["estimate"][0] == pytest.approx(frame[MEAN.name][1:].mean())


def test_rankings_are_by_value_and_name_each_query_once() -> None:
    frame = pl.DataFrame({"qid": list("abcde"), "attention_layer1_mean": [0.1, 0.5, None, 0.5, -0.2]})
    ranked = sample_rankings(frame, [MEAN])
    assert ranked["qid"].to_list() == ["b", "d", "a", "e", "c"]
    assert ranked[f"{MEAN.name}_rank"].to_list() == [1, 1, 3, 4, None]
    top, bottom = ends_of_ranking(frame, MEAN.name, 3)
    assert (top["qid"].to_list(), bottom["qid"].to_list()) == (["b", "d"], ["e", "a"])


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_correlations_equal_scipys(method: str) -> None:
    random = np.random.default_rng(3)
    gate, result = random.normal(size=40), random.integers(0, 4, 40) / 4
    frame = pl.DataFrame(
        {"vid": [f"v{number // 2}" for number in range(41)], MEAN.name: [*gate, None], "ap": [*result, 1.0]}
    )
    found = gate_correlations(frame, [MEAN], ["ap"]).filter(pl.col("method") == method).row(0, named=True)
    expected = (pearsonr if method == "pearson" else spearmanr)(gate, result).statistic
    assert found["estimate"] == pytest.approx(expected)
    assert found["low"] < found["estimate"] < found["high"]
    assert found["videos"] == 20


def test_constant_values_have_no_correlation() -> None:
    frame = pl.DataFrame({"vid": ["a", "b", "c"], MEAN.name: [0.1, 0.2, 0.3], "ap": [1.0, 1.0, 1.0]})
    assert gate_correlations(frame, [MEAN], ["ap"])["estimate"].is_nan().all()


def test_failing_queries_are_compared_with_the_others() -> None:
    frame = pl.DataFrame(
        {
            "qid": list("abcde"),
            "vid": list("vwxyz"),
            MEAN.name: [0.4, 0.0, 0.3, 0.1, 0.9],
            "ap": [0.1, 0.8, 0.0, 0.9, None],
            "iou": [0.2, 0.5, 0.3, 0.9, None],
        }
    )
    known = failing(frame)
    assert known["failed"].to_list() == [True, False, True, False]
    row = gates_of_failing(known, [MEAN]).row(0, named=True)
    assert (row["subset"], row["rest"]) == (pytest.approx(0.35), pytest.approx(0.05))
    assert row["difference"] == pytest.approx(0.3)
    assert (row["subset_queries"], row["rest_queries"], row["videos"]) == (2, 2, 2)
    worst = worst_queries(known, [MEAN])
    assert worst["qid"].to_list() == ["c", "a"]
    assert worst[f"{MEAN.name}_place"].to_list() == pytest.approx([2 / 3, 1])


@pytest.mark.parametrize("channels", [1, 3])
def test_agreement_equals_ordered_pairs_and_scipys_correlations(tmp_path: Path, channels: int) -> None:
    gates = random_gates(3, 2, clips=30, channels=channels)
    gates["1000"]["attention"][0, 7] = np.nan
    windows = [[[10, 30]], [[0, 4], [20, 50]], [[0, 60]]]  # the last covers all: nothing to tell apart
    rows = [
        truth(int(qid), own, [3, 5], [[1, 2, 3], [4, 4, 4]], vid=vid)
        for qid, own, vid in zip(gates, windows, ["a", "a", "b"], strict=True)
    ]
    run = write_run(tmp_path / "run", gates, videos=dict(zip(gates, ["a", "a", "b"], strict=True)))
    found = gate_agreement(run, read_ground_truth(lines(tmp_path / "val.jsonl", rows)))
    salient = np.zeros(30)
    salient[[3, 5]] = 2, 4
    times = np.arange(30) * 2 + 1
    for layer in range(2):
        values = {qid: own["attention"][layer].mean(axis=1, dtype=float) for qid, own in gates.items()}
        areas, binary, saliency = [], [], {"a": [], "b": []}
        for shown, own, vid in zip(values.values(), windows, ["a", "a", "b"], strict=True):
            finite = np.isfinite(shown)
            shown = shown.astype(np.float32)[finite].astype(float)
            inside = np.any([(times >= start) & (times < end) for start, end in own], axis=0)[finite]
            saliency[vid].append(pearsonr(shown, salient[finite]).statistic)
            if not inside.all():
                areas.append(area(np.abs(shown), inside))
                binary.append(pointbiserialr(inside, shown).statistic)
        rows_of = {
            (row["statistic"], row["measure"]): row
            for row in found.filter(pl.col("layer") == layer, pl.col("gate") == "attention").iter_rows(
                named=True
            )
        }
        assert rows_of["size", "auc"]["estimate"] == pytest.approx(np.mean(areas))
        assert (rows_of["size", "auc"]["videos"], rows_of["size", "auc"]["queries"]) == (1, 2)
        assert rows_of["value", "window_correlation"]["estimate"] == pytest.approx(np.mean(binary))
        by_video = [np.mean(own) for own in saliency.values()]
        assert rows_of["value", "saliency_correlation"]["estimate"] == pytest.approx(np.mean(by_video))
        assert rows_of["value", "saliency_correlation"]["videos"] == 2


def test_clips_are_placed_by_the_models_own_length(tmp_path: Path) -> None:
    manifest = manifest_of("clipwise", 1)
    manifest = replace(manifest, preprocessing=replace(manifest.preprocessing, clip_length=1.0))
    gate = np.full((1, 20, 1), -0.5, np.float32)
    gate[0, 5:10] = 0.5
    run = write_run(tmp_path / "run", {"1": {"attention": gate, "ffn": -gate}}, manifest=manifest)
    annotations = read_ground_truth(lines(tmp_path / "val.jsonl", [truth(1, [[5, 10]])]))
    found = gate_agreement(run, annotations).filter(statistic="value", measure="auc")
    assert dict(found.select("gate", "estimate").iter_rows()) == {"attention": 1.0, "ffn": 0.0}


def context_of(run: Run, options: AnalysisOptions) -> Context:
    return Context(run, options)


def details_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "detailed_gate_analysis.json").read_text(encoding="utf-8"))


@pytest.mark.usefixtures("undrawn")
def test_the_chapters_and_files_of_a_judged_run(tmp_path: Path) -> None:
    run, gates, annotations = judged_run(tmp_path, 44)
    subset = frozenset([*list(gates)[:10], "elsewhere"])
    options = AnalysisOptions(annotations=annotations, subsets={"au|dio": subset})
    result = analyze_run(run, tmp_path / "report", options=options)
    report = (tmp_path / "report" / "ANALYSIS_REPORT.md").read_text(encoding="utf-8")
    failed = sum(20 / (20 + 2 * number) < 0.5 for number in range(44))
    assert f"{failed} of 44 queries fail" in report
    assert "<b>" not in report
    assert (
        "### au\\|dio\n\n10 of the run's 44 queries are in the subset, 34 are the rest. Its file names 1 more"
        in (report)
    )
    details = details_of(tmp_path / "report")
    assert len(details["failures"]["iou_below_0.5"]) == failed
    top = details["rankings"]["mean"]["combined"]["all"]["top"][0]
    means = {qid: np.mean([own[kind].mean(dtype=float) for kind in own]) for qid, own in gates.items()}
    assert (top["qid"], top["value"]) == (
        max(means, key=means.__getitem__),
        pytest.approx(max(means.values())),
    )
    assert set(details["rankings"]["mean_abs"]) == {"combined", "attention", "ffn"}
    assert set(details["rankings"]["mean"]["ffn"]) == {"all", "0", "1"}

    found = result.document
    assert found["metrics"]["brief"]["MR-full-R1@0.5"] == pytest.approx(100 * (44 - failed) / 44, abs=0.005)
    assert len(found["queries"]["correlations"]) == 14 * 2 * 2
    subset_of = {row["name"]: row for row in found["subsets"]["au|dio"]["gates"]}
    inside = [means[qid] for qid in list(gates)[:10]]
    assert subset_of["combined_mean"]["subset"] == pytest.approx(np.mean(inside))
    assert len(found["subsets"]["au|dio"]["metrics"]) == 14

    ranked = pl.read_csv(tmp_path / "report" / "sample_rankings.csv")
    assert ranked["combined_mean_rank"].to_list() == list(range(1, 45))
    assert {"qid", "vid", "query", "ap", "iou"} < set(ranked.columns)
    layers = pl.read_csv(tmp_path / "report" / "layer_gate_averages.csv")
    assert layers.select("layer", "gate").rows() == [
        (0, "attention"),
        (0, "ffn"),
        (1, "attention"),
        (1, "ffn"),
    ]
    for row in layers.iter_rows(named=True):
        values = np.concatenate([own[row["gate"]][row["layer"]].ravel() for own in gates.values()])
        assert row["mean"] == pytest.approx(values.mean(dtype=float))
        assert row["mean_low"] < row["mean"] < row["mean_high"]

    pictures = {"gate_correlations.png", "gate_agreement.png", "subset_metrics.png", "subset_gates.png"}
    assert pictures < {path.name for path in result.files}
    analyze_run(run, tmp_path / "report")
    assert not pictures & {path.name for path in (tmp_path / "report").iterdir()}
    assert "give `--annotations` with ground truth" in (tmp_path / "report" / "ANALYSIS_REPORT.md").read_text(
        encoding="utf-8"
    )


def test_pictures_of_a_judged_run_are_drawn(tmp_path: Path) -> None:
    run, gates, annotations = judged_run(tmp_path, 30)
    options = AnalysisOptions(annotations=annotations, subsets={"$a$ 소리": frozenset(list(gates)[:9])})
    for section in (queries_chapter(context_of(run, options)), subsets_chapter(context_of(run, options))):
        assert section is not None
        assert all(imread(io.BytesIO(image)).shape[2] == 4 for image in section.figures.values())


@pytest.mark.usefixtures("undrawn")
def test_few_videos_are_called_few(tmp_path: Path) -> None:
    run, gates, annotations = judged_run(tmp_path, 6)
    options = AnalysisOptions(annotations=annotations, subsets={"audio": frozenset(list(gates)[:2])})
    analyze_run(run, tmp_path / "report", options=options)
    report = (tmp_path / "report" / "ANALYSIS_REPORT.md").read_text(encoding="utf-8")
    assert "None is called an effect: intervals of 3 videos are too narrow" in report
    assert "| **" not in report


@pytest.mark.usefixtures("undrawn")
def test_annotations_of_other_queries(tmp_path: Path) -> None:
    run, gates, _ = judged_run(tmp_path, 4)
    some = lines(tmp_path / "some.jsonl", [truth(int(qid)) for qid in list(gates)[:3]] + [truth(7)])
    analyze_run(run, tmp_path / "report", annotations=some)
    report = (tmp_path / "report" / "ANALYSIS_REPORT.md").read_text(encoding="utf-8")
    assert "Only 3 of 4 annotated queries are evaluated: no prediction for qid 7" in report
    other = lines(tmp_path / "other.jsonl", [truth(7)])
    with pytest.raises(DatasetError, match="no query in common"):
        analyze_run(run, tmp_path / "other", annotations=other)
    assert not (tmp_path / "other").exists()
    test_split = [{"qid": int(qid), "query": "q", "vid": "v", "duration": 60} for qid in gates]
    analyze_run(run, tmp_path / "report", annotations=lines(tmp_path / "test.jsonl", test_split))
    report = (tmp_path / "report" / "ANALYSIS_REPORT.md").read_text(encoding="utf-8")
    assert "give `--annotations` with ground truth" in report


@pytest.mark.parametrize(("samples", "clips", "value"), [(1, 1, 0.5), (2, 1, np.nan), (3, 4, 0.0)])
@pytest.mark.usefixtures("undrawn")
def test_runs_with_little_to_say(tmp_path: Path, samples: int, clips: int, value: float) -> None:
    gates = {
        str(number): {kind: np.full((1, clips, 1), value, np.float32) for kind in ("attention", "ffn")}
        for number in range(samples)
    }
    run = write_run(
        tmp_path / "run", gates, predictions={str(number): predicted(number) for number in range(samples)}
    )
    annotations = lines(tmp_path / "val.jsonl", [truth(number) for number in range(samples)])
    options = AnalysisOptions(annotations=annotations, subsets={"all": frozenset(gates)})
    analyze_run(run, tmp_path / "report", options=options)
    assert details_of(tmp_path / "report")["total_queries"] == samples


@pytest.mark.usefixtures("undrawn")
def test_the_commands_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, gates, _ = judged_run(tmp_path, 3)
    (tmp_path / "list").write_text(next(iter(gates)), encoding="utf-8")
    command = ["analyze", str(run.path), "--output", str(tmp_path / "report"), "--json"]
    assert main([*command, "--subset", f"one={tmp_path / 'list'}"]) == 0
    found = json.loads(capsys.readouterr().out)["statistics"]["subsets"]["one"]
    assert (found["queries"], found["rest"]) == (1, 2)
    assert main([*command, "--subset", "one"]) == 2
