"""Predictions: the reference's roundings recomputed by hand, and submission files read strictly."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.runtime.errors import DatasetError, GatescopeError
from gatescope.runtime.runs.predictions import (
    Prediction,
    format_prediction,
    prediction_line,
    read_predictions,
    write_predictions,
)

GOOD = {
    "qid": 1000,
    "query": "a dog barks",
    "vid": "v_0.0_150.0",
    "pred_relevant_windows": [[0.0, 24.0, 0.2681], [2.0, 150.0, 0.1]],
    "pred_saliency_scores": [0.7529296875, -11.453125],
}


def one(
    spans: Any,
    scores: Any,
    duration: float = 150,
    round_to: float | None = 2,
    clamp: float | None = 150,
    **other: Any,
) -> Prediction:
    """Format windows given as (start, end) fractions with the foreground scores they should get."""
    spans = np.asarray(spans, np.float64)
    return format_prediction(
        **{"qid": 1, "query": "q", "vid": "v", "saliency": np.zeros(3, np.float32), "clips": 3, **other},
        duration=duration,
        logits=np.asarray([[math.log(s / (1 - s)), 0.0] for s in scores], np.float32),
        spans=np.stack([spans.mean(1), spans[:, 1] - spans[:, 0]], axis=1).astype(np.float32),
        round_to=round_to,
        clamp_seconds=clamp,
    )


def windows(*args: Any, **settings: Any) -> list[list[float]]:
    return one(*args, **settings)["pred_relevant_windows"]


def test_the_best_window_comes_first_and_ties_keep_their_order() -> None:
    rows = windows([[0, 0.2], [0.2, 0.4], [0.4, 0.6], [0.6, 0.8]], [0.3, 0.7, 0.3, 0.7])
    assert [row[0] for row in rows] == [30, 90, 0, 60]
    assert [row[2] for row in rows] == [0.7, 0.7, 0.3, 0.3]


def test_many_ties_keep_their_order() -> None:
    """Short lists come out of any sort in order; forty rows do not."""
    starts = [i / 50 for i in range(40)]
    rows = windows([[start, start + 0.1] for start in starts], [0.3, 0.7] * 20, duration=50, round_to=1)
    assert [row[0] for row in rows] == [*range(1, 40, 2), *range(0, 40, 2)]


def test_scores_that_round_alike_are_sorted_before_rounding() -> None:
    rows = windows([[0, 0.2], [0.2, 0.4]], [0.50001, 0.50002])
    assert [row[0] for row in rows] == [30, 0]
    assert [row[2] for row in rows] == [0.5, 0.5]


def test_windows_are_clamped_and_rounded_as_the_recipe_says() -> None:
    edges = [[-0.1, 0.51234], [0.5, 1.4]]  # of 300 s: -30 to 153.702, 150 to 420
    for clamp, want in ((150, [[0, 150], [150, 150]]), (300, [[0, 154], [150, 300]])):
        assert [row[:2] for row in windows(edges, [0.6, 0.5], duration=300, clamp=clamp)] == want
    free = [row[:2] for row in windows(edges, [0.6, 0.5], duration=300, clamp=None)]
    assert free == [[-30, 154], [150, 420]]
    raw = [row[:2] for row in windows(edges, [0.6, 0.5], duration=300, clamp=None, round_to=None)]
    assert raw == [pytest.approx([-30, 153.702], abs=1e-4), pytest.approx([150, 420], abs=1e-4)]
    assert all(edge == round(edge, 4) for row in raw for edge in row)


def test_windows_are_clamped_to_the_benchmarks_limits_not_to_the_video() -> None:
    assert windows([[-0.3, 1.4]], [0.5])[0][:2] == [0, 150]
    assert windows([[0.5, 1.4]], [0.5], duration=60)[0][:2] == [30, 84]
    assert windows([[0.5, 1.4]], [0.5], duration=300)[0][:2] == [150, 150]


@pytest.mark.parametrize(
    ("seconds", "clip_length", "want"),
    [
        (4.99, 2, 4),
        (5.0, 2, 4),  # 2.5 clips round to the even 2
        (7.0, 2, 8),  # 3.5 to the even 4
        (5.01, 2, 6),
        (5.00004, 2, 4),  # four decimals come first
        (5.00006, 2, 6),
        (2.5, 1, 2),
        (3.5, 1, 4),
        (1.24, 0.5, 1.0),
    ],
)
def test_windows_snap_to_whole_clips_half_to_even(seconds: float, clip_length: float, want: float) -> None:
    duration = 16.0  # a power of two: the fractions come back exactly
    rows = windows([[0, seconds / duration]], [0.5], duration=duration, round_to=clip_length)
    assert rows[0][1] == want


def test_against_exact_arithmetic_on_random_outputs() -> None:
    """Every number, recomputed in decimals without numpy, up to one float32 rounding."""
    rng = np.random.default_rng(3)
    for duration in (150, 149.98, 30.5):
        logits = rng.standard_normal((10, 2)).astype(np.float32)
        spans = rng.random((10, 2)).astype(np.float32)
        saliency = rng.standard_normal(8).astype(np.float32)
        line = format_prediction(
            qid=1,
            query="q",
            vid="v",
            duration=duration,
            logits=logits,
            spans=spans,
            saliency=saliency,
            clips=6,
            round_to=2,
            clamp_seconds=150,
        )
        want: list[tuple[Decimal, Decimal, Decimal]] = []
        for (foreground, background), (centre, width) in zip(logits.tolist(), spans.tolist(), strict=True):
            score = 1 / (1 + (Decimal(background) - Decimal(foreground)).exp())
            ends = [
                (Decimal(centre) + side * Decimal(width) / 2) * Decimal(str(duration)) for side in (-1, 1)
            ]
            start, end = (2 * (min(max(x, Decimal(0)), Decimal(150)) / 2).quantize(Decimal(1)) for x in ends)
            want.append((start, end, score))
        want.sort(key=lambda row: -row[2])
        for row, (start, end, score) in zip(line["pred_relevant_windows"], want, strict=True):
            assert row[:2] == [float(start), float(end)]
            assert abs(row[2] - float(score)) <= 0.5001e-4
            assert row[2] == float(f"{row[2]:.4f}")
        assert len(line["pred_saliency_scores"]) == 6
        for got, exact in zip(line["pred_saliency_scores"], saliency.tolist(), strict=False):
            assert abs(got - exact) <= 2.0**-11 * abs(exact)


def test_saliency_goes_through_float16_and_ends_with_the_video() -> None:
    curve = np.asarray([0.1, 1 / 3, -11.4549, 99.0], np.float32)
    line = one([[0, 1]], [0.5], saliency=curve, clips=3)
    assert line["pred_saliency_scores"] == [0.0999755859375, 0.333251953125, -11.453125]


@pytest.mark.parametrize("name", ["logits", "spans", "saliency"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_gives_nan_or_inf_is_an_error(name: str, value: float) -> None:
    arrays = {"logits": np.zeros((2, 2)), "spans": np.full((2, 2), 0.5), "saliency": np.zeros(3)}
    arrays[name].flat[1] = value
    with pytest.raises(GatescopeError, match="qid 17 are not finite"):
        format_prediction(
            qid=17, query="q", vid="v", duration=9, clips=3, round_to=2, clamp_seconds=150, **arrays
        )


def test_saliency_beyond_float16_is_an_error() -> None:
    with pytest.raises(GatescopeError, match="not finite"):
        one([[0, 1]], [0.5], saliency=np.asarray([1e6, 0, 0]))


def test_a_line_has_the_benchmarks_keys_in_its_order() -> None:
    line = prediction_line(one([[0, 0.16]], [0.25], qid="q7", query="wörds “quoted”", vid="v_1"))
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    assert line.isascii()
    assert list(json.loads(line)) == ["qid", "query", "vid", "pred_relevant_windows", "pred_saliency_scores"]
    assert json.loads(line)["query"] == "wörds “quoted”"
    assert '"pred_relevant_windows": [[0.0, 24.0, 0.25]]' in line


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "hl_val_submission.jsonl"
    lines = [one([[0, 1], [0.1, 0.3]], [0.5, 0.25], qid=qid, query="a\nb\u2028c") for qid in (3, "3", 1)]
    write_predictions(path, lines)
    assert read_predictions(path) == lines
    assert path.read_text(encoding="utf-8") == "".join(map(prediction_line, lines))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text("older\n", encoding="utf-8")

    def failing() -> Any:
        yield GOOD
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_predictions(path, failing())
    assert path.read_text(encoding="utf-8") == "older\n"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def changed(**fields: Any) -> str:
    return json.dumps({**GOOD, **fields})


def without(field: str) -> str:
    return json.dumps({name: value for name, value in GOOD.items() if name != field})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("{", "line 3 is not JSON", id="cut"),
        pytest.param("window", "line 3 is not JSON", id="text"),
        pytest.param("[1, 2]", "line 3 is not a prediction", id="a list"),
        pytest.param(without("qid"), r"(?s)line 3 is not a prediction.*qid", id="no qid"),
        pytest.param(without("pred_relevant_windows"), "(?s)line 3.*pred_relevant_windows", id="no windows"),
        pytest.param(changed(qid=None), "line 3 is not a prediction", id="null qid"),
        pytest.param(changed(pred_relevant_windows=[[0, 2]]), "line 3 is not a pred", id="no score"),
        pytest.param(changed(pred_relevant_windows=[[0, 2, "x"]]), "line 3 is not a pred", id="text score"),
        pytest.param(changed(pred_saliency_scores=[float("nan")]), "line 3 is not JSON", id="NaN"),
        pytest.param(changed(), r"(?s)one query twice.*1000 in lines 1 and 3", id="repeated qid"),
        pytest.param(b'{"qid": "\xff"}', "line 3 is not", id="not UTF-8"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str | bytes, message: str) -> None:
    path = tmp_path / "predictions.jsonl"
    text = line if isinstance(line, bytes) else line.encode()
    path.write_bytes(json.dumps(GOOD).encode() + b"\n\n" + text + b"\n")
    with pytest.raises(DatasetError, match=message):
        read_predictions(path)


def test_numbers_may_be_integers_and_the_last_line_end_may_lack(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text(changed(pred_relevant_windows=[[0, 24, 1]]), encoding="utf-8")
    assert read_predictions(path)[0]["pred_relevant_windows"] == [[0.0, 24.0, 1.0]]


def test_a_file_without_predictions_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_predictions(tmp_path / "absent.jsonl")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_predictions(tmp_path)
    (tmp_path / "empty.jsonl").write_text("\n\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="holds no predictions"):
        read_predictions(tmp_path / "empty.jsonl")
