"""The benchmark's metrics, against a slow implementation that follows their definition query by query."""

from __future__ import annotations

import json
import random
import shlex
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gatescope.analysis.evaluation.evaluate import METRICS, evaluate, evaluate_file, evaluate_run
from gatescope.analysis.evaluation.intervals import subset_metrics
from gatescope.analysis.statistics.subsets import subset_differences
from gatescope.analysis.subsets.chapter import metrics_text
from gatescope.runtime.cli.main import main
from gatescope.runtime.errors import DatasetError, NoGroundTruthError, RunFolderError

from .runs import random_gates, write_run

Row = dict[str, Any]
THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


def lines(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def truth(qid: int, windows: Any = ((10, 30),), clips: Any = (5, 6), scores: Any = None, **more: Any) -> Row:
    """An annotated query; by default clips 5 and 6 are salient to everybody."""
    given = {
        "relevant_windows": windows,
        "relevant_clip_ids": clips,
        "saliency_scores": scores or [[4, 4, 4] for _ in clips],
    }
    return {"qid": qid, "query": f"query {qid}", "vid": f"v{qid}", "duration": 60, **given, **more}


def predicted(qid: int, windows: Any = ((10, 30, 0.9),), saliency: Any = tuple(range(30))) -> Row:
    return {"qid": qid, "query": "q", "vid": "v", "pred_relevant_windows": windows} | {
        "pred_saliency_scores": saliency
    }


def overlap(one: Any, other: Any) -> float:
    shared = max(0, min(one[1], other[1]) - max(one[0], other[0]))
    union = (one[1] - one[0]) + (other[1] - other[0]) - shared
    return shared / union if union else 0.0


def overlap_of_span(one: Any, other: Any) -> float:
    """As the benchmark's recall divides: by the later end less the earlier start."""
    shared = max(0, min(one[1], other[1]) - max(one[0], other[0]))
    span = max(one[1], other[1]) - min(one[0], other[0])
    return shared / span if span else 0.0


def slow_ap(windows: Any, true: Any, threshold: float) -> float:
    ranked = sorted(windows[:10], key=lambda window: -window[2])
    free, points, hits = list(true), [], 0
    for rank, window in enumerate(ranked, start=1):
        best = max(reversed(free), key=lambda gt: overlap(window, gt), default=None)
        if best is not None and overlap(window, best) >= threshold:
            free.remove(best)
            hits += 1
        points.append((hits, hits / rank))
    return sum(
        max((precision for found, precision in points if found >= wanted), default=0)
        for wanted in range(1, hits + 1)
    ) / len(true)


def slow_highlights(row: Row, saliency: Any, level: int) -> tuple[float, float]:
    total = int(row["duration"] / 2)
    scores = dict(zip(row["relevant_clip_ids"], row["saliency_scores"], strict=True))
    padded = [saliency[clip] if clip < len(saliency) else 0 for clip in range(total)]
    values, hit = [], 0.0
    for annotator in range(3):
        good = {clip for clip in range(total) if clip in scores and scores[clip][annotator] >= level}
        points = []
        for cut in sorted(set(padded)):
            taken = {clip for clip in range(total) if padded[clip] >= cut}
            points.append((len(taken & good), len(taken & good) / len(taken)))
        steps = {found for found, _ in points if found}
        highest = [max(precision for found, precision in points if found >= step) for step in steps]
        values.append(sum(highest) / len(highest) if highest else 0.0)
        hit = max(hit, float(list(saliency).index(max(saliency)) in good))
    return sum(values) / 3, hit


def slow_metrics(rows: list[Row], predictions: list[Row]) -> dict[str, Any]:
    by_qid = {row["qid"]: row for row in predictions}

    def mean(values: list[float]) -> float | None:
        return float(f"{100 * sum(values) / len(values):.2f}") if values else None

    found: dict[str, Any] = {}
    for name, low, high in (("short", 0, 10), ("middle", 10, 30), ("long", 30, 150), ("full", -1, 1e9)):
        ap: dict[float, list[float]] = {at: [] for at in THRESHOLDS}
        r1: dict[float, list[float]] = {at: [] for at in THRESHOLDS}
        for row in rows:
            true = [window for window in row["relevant_windows"] if low < window[1] - window[0] <= high]
            windows = by_qid[row["qid"]]["pred_relevant_windows"]
            for at in THRESHOLDS if true else ():
                ap[at].append(slow_ap(windows, true, at))
                top = 0.0
                if windows:
                    met = max(true, key=lambda one: overlap(windows[0], one))
                    top = overlap_of_span(windows[0], met)
                r1[at].append(float(top >= at))
        average = [sum(values) / len(values) for values in ap.values() if values]
        found[name] = {
            "MR-mAP": {str(at): mean(ap[at]) for at in THRESHOLDS} | {"average": mean(average)},
            "MR-R1": {str(at): mean(r1[at]) for at in THRESHOLDS},
        }
    for name, level in (("Fair", 2), ("Good", 3), ("VeryGood", 4)):
        both = [slow_highlights(row, by_qid[row["qid"]]["pred_saliency_scores"], level) for row in rows]
        found[f"HL-min-{name}"] = {"HL-mAP": mean([ap for ap, _ in both])} | {
            "HL-Hit1": mean([hit for _, hit in both])
        }
    full = found["full"]
    brief = {f"MR-full-R1@{at}": full["MR-R1"][str(at)] for at in (0.5, 0.7)}
    brief |= {"MR-full-mAP": full["MR-mAP"]["average"]}
    brief |= {f"MR-full-mAP@{at}": full["MR-mAP"][str(at)] for at in (0.5, 0.75)}
    brief |= {f"MR-{name}-mAP": found[name]["MR-mAP"]["average"] for name in ("long", "middle", "short")}
    for name in ("Fair", "Good", "VeryGood"):
        brief |= {f"HL-min-{name}-{key[3:]}": value for key, value in found[f"HL-min-{name}"].items()}
    return {"brief": brief, **dict(sorted(found.items()))}


def dataset(queries: int = 60, seed: int = 5) -> tuple[list[Row], list[Row]]:
    """Queries with every quirk: equal scores, no or many windows, too few or many clips, odd durations."""
    draw = random.Random(seed)
    rows, predictions = [], []
    for qid in range(queries):
        clips = draw.randint(20, 75)
        true = []
        for _ in range(draw.choice([1, 1, 2, 5])):
            start = 2 * draw.randint(0, clips - 2)
            true.append([start, min(start + 2 * draw.choice([1, 4, 9, 30]), 2 * clips)])
        windows = [[*sorted((2 * draw.randint(0, clips), 2 * draw.randint(0, clips))), 0.1] for _ in range(3)]
        windows += [[max(0, one[0] - 2 * draw.randint(0, 2)), one[1], 0.1] for one in true * 2]
        draw.shuffle(windows)
        windows = windows[: draw.choice([1, 4, 12])]
        for window in windows:
            window[2] = draw.choice([0.1, 0.5, 0.5, 0.9])
        salient = sorted(draw.sample(range(clips), draw.randint(1, clips)))
        rows.append(
            truth(
                qid,
                true,
                salient,
                [[draw.randint(0, 4) for _ in range(3)] for _ in salient],
                vid=f"v{qid // 2}",
                duration=2 * clips + draw.choice([0, 1, 1.5]),
            )
        )
        saliency = [draw.choice([-1.5, 0.25, 0.5, draw.random()]) for _ in range(clips + draw.randint(-9, 9))]
        predictions.append(predicted(qid, windows if qid else [], saliency))
    return rows, predictions


def test_all_metrics_equal_the_slow_ones(tmp_path: Path) -> None:
    rows, predictions = dataset()
    found = evaluate(reversed(predictions), lines(tmp_path / "val.jsonl", rows))
    assert found.metrics == slow_metrics(rows, predictions)
    assert list(found.metrics) == list(slow_metrics(rows, predictions))
    assert found.per_query["qid"].to_list() == [str(row["qid"]) for row in rows]
    for metric, column in METRICS.items():
        mean = found.per_query[column].mean()
        assert 100 * float(mean) == pytest.approx(found.metrics["brief"][metric], abs=0.0051)  # type: ignore[arg-type]
    assert any("1 queries have no predicted window" in note for note in found.notes)


# Window predicted, true window, the threshold at which their overlap lies by its decimals, and whether the
# float64 quotient reaches it: over the span (recall), over the union of lengths (average precision).
ON_A_THRESHOLD = [
    ([14.27, 34.87], [11.87, 29.22], 0.65, True, False),
    ([9.28, 14.39], [7.39, 14.18], 0.7, True, False),
    ([3.94, 17.19], [2.94, 12.49], 0.6, True, False),
    ([3.14, 6.89], [3.99, 8.94], 0.5, True, False),
    ([1.34, 5.17], [2.97, 5.34], 0.55, False, True),
    ([3.45, 7.08], [2.28, 7.05], 0.75, False, True),
    ([3.88, 9.15], [3.65, 8.28], 0.8, False, True),
]


@pytest.mark.parametrize(("window", "true", "at", "recalled", "precise"), ON_A_THRESHOLD)
def test_recall_and_precision_divide_an_overlap_as_the_benchmark_does(
    tmp_path: Path, window: list[float], true: list[float], at: float, recalled: bool, precise: bool
) -> None:
    exact = [[Fraction(str(edge)) for edge in edges] for edges in (window, true)]
    assert overlap(*exact) == overlap_of_span(*exact) == Fraction(str(at))
    found = one(tmp_path, truth(1, [true]), predicted(1, [[*window, 0.9]]))
    assert (found[f"r1_{at:g}"], found[f"ap_{at:g}"]) == (recalled, precise)
    # What is shown for one query, and called failing, says the same as its recall.
    assert (found["iou"] >= at, found["best_iou"] >= at) == (recalled, recalled)
    length = "short" if true[1] - true[0] <= 10 else "middle"
    assert (found[f"r1_{length}_{at:g}"], found[f"ap_{length}_{at:g}"]) == (recalled, precise)


def test_windows_with_decimals_score_as_the_slow_ones(tmp_path: Path) -> None:
    """One query per pair of windows, in one file: a metric of the whole differs by which division is used."""
    rows = [truth(qid, [true]) for qid, (_, true, *_) in enumerate(ON_A_THRESHOLD)]
    predictions = [predicted(qid, [[*window, 0.9]]) for qid, (window, *_) in enumerate(ON_A_THRESHOLD)]
    assert evaluate(predictions, lines(tmp_path / "val.jsonl", rows)).metrics == slow_metrics(
        rows, predictions
    )


def one(tmp_path: Path, row: Row, prediction: Row) -> Row:
    return evaluate([prediction], lines(tmp_path / "one.jsonl", [row])).per_query.row(0, named=True)


def test_cases_whose_answer_is_plain(tmp_path: Path) -> None:
    perfect = one(tmp_path, truth(1, clips=[28, 29]), predicted(1))
    assert (perfect["ap"], perfect["iou"], perfect["r1_0.95"], perfect["hl_ap_verygood"]) == (1, 1, 1, 1)
    assert (perfect["ap_short"], perfect["ap_middle"], perfect["ap_long"]) == (None, 1, None)

    # R1 takes the window listed first, average precision the one of the highest score.
    listed = predicted(1, [[40, 60, 0.2], [10, 30, 0.8]])
    swapped = one(tmp_path, truth(1), listed)
    assert (swapped["iou"], swapped["best_iou"], swapped["ap"]) == (0, 1, 1)

    # The eleventh window is not looked at.
    late = one(tmp_path, truth(1), predicted(1, [*([40, 60, 0.2],) * 10, [10, 30, 0.8]]))
    assert (late["ap"], late["best_iou"]) == (0, 0)

    # One of two true windows found, by the second of two windows.
    half = one(tmp_path, truth(1, [[10, 30], [40, 50]]), predicted(1, [[0, 5, 0.9], [10, 30, 0.8]]))
    assert half["ap_0.5"] == pytest.approx(0.25)
    assert (half["ap_short_0.5"], half["ap_middle_0.5"]) == (0, 0.5)

    # A window without length overlaps nothing, not even itself.
    point = one(tmp_path, truth(1, [[10, 10]]), predicted(1, [[10, 10, 0.9]]))
    assert (point["ap"], point["iou"], point["ap_short"]) == (0, 0, None)

    # Equal scores are one step of recall; the first clip is the best one.
    equal = one(tmp_path, truth(1, clips=[0, 7, 8]), predicted(1, saliency=[0.5] * 30))
    assert equal["hl_ap_fair"] == pytest.approx(3 / 30)
    assert equal["hit1_fair"] == 1

    # The best clip may lie beyond the video; clips without a prediction count as 0.
    beyond = one(tmp_path, truth(1), predicted(1, saliency=[*[0.0] * 30, 1.0]))
    assert beyond["hit1_fair"] == 0
    short = one(tmp_path, truth(1, clips=[0, 29]), predicted(1, saliency=[1.0] + [-1.0] * 9))
    assert short["hl_ap_good"] == pytest.approx((1 + 2 / 21) / 2)


def test_one_annotator_is_enough_to_hit(tmp_path: Path) -> None:
    found = one(tmp_path, truth(1, clips=[29], scores=[[0, 2, 4]]), predicted(1))
    assert (found["hit1_fair"], found["hit1_verygood"]) == (1, 1)
    assert found["hl_ap_fair"] == pytest.approx(2 / 3)
    assert found["hl_ap_verygood"] == pytest.approx(1 / 3)


def test_annotations_without_saliency_have_moment_metrics_alone(tmp_path: Path) -> None:
    row = {key: value for key, value in truth(1).items() if key in {"qid", "query", "vid", "duration"}}
    path = lines(tmp_path / "charades.jsonl", [{**row, "relevant_windows": [[10.5, 30.25]]}])
    found = evaluate([predicted(1)], path)
    assert list(found.metrics) == ["brief", "full", "long", "middle", "short"]
    assert found.metrics["brief"]["MR-full-R1@0.5"] == 100
    assert found.metrics["long"]["MR-mAP"]["average"] is None
    assert "hl_ap_fair" not in found.per_query.columns


def test_predictions_without_windows_have_highlight_metrics_alone(tmp_path: Path) -> None:
    path = lines(tmp_path / "val.jsonl", [truth(1)])
    found = evaluate([{"qid": 1, "pred_saliency_scores": list(range(30))}], path)
    assert list(found.metrics) == ["brief", "HL-min-Fair", "HL-min-Good", "HL-min-VeryGood"]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([truth(1, [[30, 10]])], "line 1 .*window \\[30, 10\\] ends before it begins"),
        ([truth(1, clips=[30])], "clip 30 lies outside its 30 clips"),
        ([truth(1, scores=[[4, 4, 4]])], "2 relevant clips have 1 saliency scores"),
        ([truth(1, windows="x")], "line 1 "),
        ([truth(1), truth(2, windows=None)], "line 2 .*no relevant_windows, other lines do"),
        ([truth(1), truth(2, scores=[[4, 4], [4, 4]])], "different numbers of annotators: 2, 3"),
        ([truth(1, saliency_scores=None)], "only one of relevant_clip_ids and saliency_scores"),
    ],
)
def test_damaged_ground_truth_is_named(tmp_path: Path, rows: list[Row], says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        evaluate([predicted(row["qid"]) for row in rows], lines(tmp_path / "val.jsonl", rows))


def test_a_test_split_has_nothing_to_compare_with(tmp_path: Path) -> None:
    row = {"qid": 1, "query": "q", "vid": "v", "duration": 60}
    with pytest.raises(NoGroundTruthError, match="no ground truth"):
        evaluate([predicted(1)], lines(tmp_path / "test.jsonl", [row]))
    with pytest.raises(NoGroundTruthError, match="TVSum's labels"):
        evaluate([predicted(1)], lines(tmp_path / "tvsum.jsonl", [{**row, "label": [[1, 2]]}]))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"qid": 1, "pred_relevant_windows"', "line 2: "),
        ('{"qid": 2, "pred_relevant_windows": [[1, 2, NaN]]}', "line 2: a number is NaN or infinite"),
        ('{"qid": 2, "pred_relevant_windows": [[1, 2]]}', "line 2: .*length"),
        ('{"qid": 2, "pred_relevant_windows": [[9, 2, 0.5]]}', r"line 2 \(qid 2\): .*\[9, 2\] ends before"),
        ('{"qid": 1, "pred_relevant_windows": [[1, 2, 0.5]]}', "predicts the query 1 of line 1 again"),
        ('{"qid": 2, "pred_saliency_scores": []}', "some predictions have pred_relevant_windows"),
        ('{"qid": 3, "pred_relevant_windows": []}', "no prediction for qid 2 .*; no annotation for qid 3"),
    ],
)
def test_damaged_predictions_are_named(
    tmp_path: Path, line: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    path = lines(tmp_path / "val.jsonl", [truth(1), truth(2)])
    good = {"qid": 1, "pred_relevant_windows": [[1, 2, 0.5]]}
    (tmp_path / "p.jsonl").write_text(json.dumps(good) + "\n" + line + "\n", encoding="utf-8")
    assert main(["evaluate", str(tmp_path / "p.jsonl"), "--annotations", str(path)]) == 1
    said = capsys.readouterr().err
    assert re.search(says, said), said


def test_numbers_that_are_none_are_named_in_memory_too(tmp_path: Path) -> None:
    path = lines(tmp_path / "val.jsonl", [truth(1)])
    for bad in (predicted(1, [[0, 1, float("nan")]]), predicted(1, saliency=[float("inf")])):
        with pytest.raises(DatasetError, match="NaN or infinite"):
            evaluate([bad], path)


def test_missing_queries_may_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, predictions = dataset(20)
    path = lines(tmp_path / "val.jsonl", rows)
    some = lines(tmp_path / "p.jsonl", [*predictions[5:], predicted(77)])
    command = ["evaluate", str(some), "--annotations", str(path)]
    assert main(command) == 1
    assert (
        "no prediction for qid 0, 1, 2, 3, 4 (5 of 20); no annotation for qid 77" in capsys.readouterr().err
    )
    assert main([*command, "--allow-missing", "--json"]) == 0
    said = capsys.readouterr()
    expected = slow_metrics(rows[5:], predictions[5:])
    assert json.loads(said.out)["brief"] == expected["brief"]
    assert "Only 15 of 20 annotated queries" in said.err


def test_the_command_prints_the_benchmarks_json_and_writes_every_query(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, predictions = dataset(30)
    annotations, file = lines(tmp_path / "val.jsonl", rows), lines(tmp_path / "p.jsonl", predictions)
    (tmp_path / "part.txt").write_text("3\n4\n5\n6\n", encoding="utf-8")
    command = ["evaluate", str(file), "--annotations", str(annotations)]
    subset = ["--subset", f"part={tmp_path / 'part.txt'}"]
    assert main([*command, *subset, "--json", "--output", str(tmp_path / "q.csv")]) == 0
    document = json.loads(capsys.readouterr().out)
    expected = slow_metrics(rows, predictions)
    assert {key: document[key] for key in expected} == expected
    assert set(document) - set(expected) == {"queries", "videos", "notes", "intervals", "subsets", "command"}
    low, high = document["intervals"]["brief"]["MR-full-mAP"]
    assert low < document["brief"]["MR-full-mAP"] < high
    part = document["subsets"]["part"]
    assert part["subset"]["brief"] == slow_metrics(rows[3:7], predictions[3:7])["brief"]
    assert (
        part["rest"]["brief"] == slow_metrics(rows[:3] + rows[7:], predictions[:3] + predictions[7:])["brief"]
    )
    difference = part["difference"]["MR-full-mAP"]
    expected_difference = part["subset"]["brief"]["MR-full-mAP"] - part["rest"]["brief"]["MR-full-mAP"]
    assert difference["estimate"] == pytest.approx(expected_difference, abs=0.011)
    assert difference["low"] < difference["estimate"] < difference["high"]

    assert pl.read_csv(tmp_path / "q.csv").height == 30
    assert main([*command, *subset, "--output", str(tmp_path / "q.parquet")]) == 0
    said = capsys.readouterr().out
    assert f"MR-full-mAP           {expected['brief']['MR-full-mAP']:.2f}  [" in said
    assert "subset 'part': 4 queries of 3 videos; rest: 26 queries of 14 videos" in said
    assert pl.read_parquet(tmp_path / "q.parquet").columns == pl.read_csv(tmp_path / "q.csv").columns
    assert main([*command, "--output", str(tmp_path / "q.txt")]) == 2
    assert not (tmp_path / "q.txt").exists()


def test_what_is_printed_ends_with_the_command_that_repeats_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows, predictions = dataset(20)
    lines(tmp_path / "it's val.jsonl", rows)
    lines(tmp_path / "p.jsonl", predictions[2:])
    (tmp_path / "part.txt").write_text("3\n4\n", encoding="utf-8")
    words = ["evaluate", str(tmp_path / "p.jsonl"), "--annotations", "it's val.jsonl", "--allow-missing"]
    words += ["--subset", f"part={tmp_path / 'part.txt'}"]
    for more in (["--json"], ["--output", "q.csv"]):
        assert main([*words, *more]) == 0
        printed = capsys.readouterr().out
        command = json.loads(printed)["command"] if "--json" in more else printed.rstrip().splitlines()[-1]
        assert str(tmp_path) not in command
        assert main(shlex.split(command)[1:]) == 0
        assert capsys.readouterr().out == printed


@pytest.mark.parametrize(("within", "videos"), [(4, 60), (56, 60), (30, 60)])
def test_few_videos_on_either_side_call_nothing_an_effect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], within: int, videos: int
) -> None:
    """The subset is answered perfectly and the rest never: only enough videos make that an effect."""
    rows = [truth(qid) for qid in range(videos)]
    wrong = predicted(0, [[40, 58, 0.9]])
    predictions = [predicted(qid) if qid < within else {**wrong, "qid": qid} for qid in range(videos)]
    lines(tmp_path / "val.jsonl", rows)
    lines(tmp_path / "preds.jsonl", predictions)
    (tmp_path / "part.txt").write_text("\n".join(map(str, range(within))), encoding="utf-8")
    command = ["evaluate", str(tmp_path / "preds.jsonl"), "--annotations", str(tmp_path / "val.jsonl")]
    command += ["--subset", f"part={tmp_path / 'part.txt'}"]
    enough = min(within, videos - within) >= 20
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    difference = document["subsets"]["part"]["difference"]["MR-full-R1@0.5"]
    assert (difference["estimate"], difference["low"]) == (100, 100)
    assert difference["videos"] == min(within, videos - within)
    assert difference["told_apart"] is enough
    assert any("no difference is called an effect" in note for note in document["notes"]) is not enough
    assert main(command) == 0
    said = capsys.readouterr().out
    (row,) = [line for line in said.splitlines() if "MR-full-R1@0.5" in line and "+100" in line]
    assert ("not told apart from 0" in row) is not enough
    # The report's table says the same of the same numbers.
    compared = subset_metrics(evaluate(predictions, tmp_path / "val.jsonl").per_query, _qids(within))
    assert ("No metric of the subset can be told apart" in metrics_text(compared)) is not enough


def _qids(count: int) -> frozenset[str]:
    return frozenset(map(str, range(count)))


def test_differences_of_many_metrics_hold_at_once(tmp_path: Path) -> None:
    """Wider than each alone: with one metric there is nothing to widen for, with all of them there is."""
    rows, predictions = dataset()
    per_query = evaluate(predictions, lines(tmp_path / "val.jsonl", rows)).per_query
    inside = per_query["qid"].is_in(list(_qids(30)))
    alone = subset_differences(per_query, ["ap"], inside).row(0, named=True)
    columns = [column for column in METRICS.values() if column != "ap"]
    together = subset_differences(per_query, ["ap", *columns], inside).row(0, named=True)
    assert together["difference"] == alone["difference"]
    assert together["difference_low"] < alone["difference_low"]
    assert together["difference_high"] > alone["difference_high"]


def test_a_subset_of_all_queries_has_no_rest(tmp_path: Path) -> None:
    rows, predictions = dataset(10)
    found = evaluate(predictions, lines(tmp_path / "val.jsonl", rows))
    compared = subset_metrics(found.per_query, frozenset(found.per_query["qid"]))
    assert compared["rest"].is_nan().all()
    assert compared["difference_low"].is_nan().all()
    assert compared["rest_queries"].to_list() == [0] * compared.height


def test_a_run_without_predictions_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", random_gates(2))
    with pytest.raises(RunFolderError, match="holds no predictions"):
        evaluate_run(run, lines(tmp_path / "val.jsonl", [truth(1000)]))


def test_predictions_of_other_videos_are_said(tmp_path: Path) -> None:
    rows = [truth(qid) for qid in range(3)]
    made = [predicted(qid) | {"vid": rows[qid]["vid"]} for qid in range(3)]
    made[1]["vid"] = "another"
    del made[2]["vid"]  # which video it is of is not everywhere said
    given = lines(tmp_path / "predictions.jsonl", made)
    found = evaluate_file(given, lines(tmp_path / "truth.jsonl", rows))
    (note,) = [note for note in found.notes if "another video" in note]
    assert note.startswith("1 of 3 predictions") and ": 1." in note


def test_predictions_may_be_one_json_list(tmp_path: Path) -> None:
    rows = [truth(qid) for qid in range(3)]
    made = [predicted(qid) for qid in range(3)]
    whole = tmp_path / "predictions.json"
    whole.write_text(json.dumps(made), encoding="utf-8")
    annotations = lines(tmp_path / "truth.jsonl", rows)
    by_line = evaluate_file(lines(tmp_path / "predictions.jsonl", made), annotations)
    assert evaluate_file(whole, annotations).metrics == by_line.metrics
    whole.write_text(json.dumps([*made, made[0]]), encoding="utf-8")
    with pytest.raises(DatasetError, match="entry 4"):
        evaluate_file(whole, annotations)
    whole.write_text("[{", encoding="utf-8")
    with pytest.raises(DatasetError, match="is not JSON"):
        evaluate_file(whole, annotations)
