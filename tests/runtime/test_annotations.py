"""Annotation files: what is kept, and what every kind of bad line is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatescope.analysis.evaluation.ground_truth import read_ground_truth
from gatescope.runtime.data.annotations import Annotation, read_annotations
from gatescope.runtime.data.dataset import Selection
from gatescope.runtime.errors import DatasetError, UsageError

GOOD = {"qid": 7, "query": "a cat", "vid": "v_0.0_150.0", "duration": 150, "relevant_windows": [[0, 2]]}


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_line_becomes_an_annotation_and_the_rest_is_dropped(tmp_path: Path) -> None:
    path = write(tmp_path / "val.jsonl", GOOD, "", {**GOOD, "qid": "b", "vid": 12, "duration": 2.5}, "  ")
    assert read_annotations(path) == [
        Annotation("7", 7, "a cat", "v_0.0_150.0", 150.0, 1),
        Annotation("b", "b", "a cat", "12", 2.5, 3),
    ]


def test_byte_order_mark_and_windows_line_ends_are_tolerated(tmp_path: Path) -> None:
    path = tmp_path / "val.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n\r\n")
    assert [annotation.qid for annotation in read_annotations(path)] == ["7"]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n  "])
def test_one_json_list_is_a_file_of_its_entries(tmp_path: Path, indent: int | None, start: str) -> None:
    path = tmp_path / "data.json"
    rows = [GOOD, {**GOOD, "qid": "b", "query": "고양이", "relevant_windows": [[4, 6]]}]
    path.write_text(start + json.dumps(rows, indent=indent), encoding="utf-8")
    assert [(one.qid, one.query) for one in read_annotations(path)] == [("7", "a cat"), ("b", "고양이")]
    assert read_ground_truth(path).windows[:, 0].tolist() == [[0, 2], [4, 6]]
    path.write_text(json.dumps([GOOD, 3]), encoding="utf-8")
    with pytest.raises(DatasetError, match="line 2: a number, not a JSON object"):
        read_annotations(path)


def without(key: str) -> dict[str, object]:
    return {name: value for name, value in GOOD.items() if name != key}


BAD_LINES = {
    "not JSON": ("{broken", "not JSON"),
    "cut short": (json.dumps(GOOD)[:-1], "not JSON"),
    "a list": ([GOOD], "a list, not a JSON object"),
    "a number": ("3", "a number, not a JSON object"),
    "deeply nested": ("[" * 100_000, "not JSON"),
    "a whole JSON list over several lines": ("[", "one object per line"),
    "no qid": (without("qid"), "lacks qid"),
    "no vid": (without("vid"), "lacks vid"),
    "no duration": (without("duration"), "lacks duration"),
    "no query": (without("query"), "lacks query"),
    "several lacking": ({"vid": "v"}, "lacks qid, query, duration"),
    "qid a boolean": ({**GOOD, "qid": True}, "qid is true or false"),
    "qid a fraction": ({**GOOD, "qid": 1.5}, "qid is a number, not text or a whole number"),
    "qid null": ({**GOOD, "qid": None}, "qid is null"),
    "qid empty": ({**GOOD, "qid": ""}, "qid is empty"),
    "vid a list": ({**GOOD, "vid": ["v"]}, "vid is a list"),
    "vid empty": ({**GOOD, "vid": ""}, "vid is empty"),
    "query a number": ({**GOOD, "query": 5}, "query is a number, not text"),
    "half a surrogate": ('{"qid": "\\ud800", "query": "", "vid": "v", "duration": 1}', "half a surrogate"),
    "duration a boolean": ({**GOOD, "duration": True}, "duration is true or false"),
    "duration text": ({**GOOD, "duration": "150"}, "duration is text"),
    "duration zero": ({**GOOD, "duration": 0}, "duration is 0, not a positive"),
    "duration negative": ({**GOOD, "duration": -2}, "duration is -2"),
    "duration not a number": ({**GOOD, "duration": float("nan")}, "duration is nan"),
    "duration infinite": ({**GOOD, "duration": float("inf")}, "duration is inf"),
    "duration beyond a float": (json.dumps({**GOOD, "duration": 10**400}), "duration is inf"),
}


@pytest.mark.parametrize("line, reason", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_named_by_number(tmp_path: Path, line: object, reason: str) -> None:
    path = write(tmp_path / "val.jsonl", {**GOOD, "qid": 1}, line)
    with pytest.raises(DatasetError, match="1 line of") as caught:
        read_annotations(path)
    assert "line 2: " in str(caught.value)
    assert reason in str(caught.value)


def test_bad_lines_are_counted_by_what_is_wrong_with_them(tmp_path: Path) -> None:
    path = write(tmp_path / "val.jsonl", *[{**GOOD, "qid": i} for i in range(3)], *["nonsense"] * 25)
    with pytest.raises(DatasetError, match="25 lines of") as caught:
        read_annotations(path)
    assert "\n    25 lines (4, 5, 6, …): not JSON" in str(caught.value)
    assert str(caught.value).count("not JSON") == 1


@pytest.mark.parametrize("again", [12, "12"], ids=["the same number", "the number as text"])
def test_a_repeated_qid_is_refused(tmp_path: Path, again: object) -> None:
    path = write(tmp_path / "val.jsonl", {**GOOD, "qid": 12}, {**GOOD, "qid": again})
    with pytest.raises(DatasetError, match="line 2: repeats the qid 12 of line 1"):
        read_annotations(path)


@pytest.mark.parametrize("content", [b"", b"\n \n\n", b"\xef\xbb\xbf"], ids=["empty", "blank", "only a BOM"])
def test_a_file_without_queries_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "val.jsonl"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="is empty"):
        read_annotations(path)


def test_a_file_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "val.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n\xff\xfe\x00\n")
    with pytest.raises(DatasetError, match="line 2: not UTF-8"):
        read_annotations(path)


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no annotation file"):
        read_annotations(tmp_path / "absent.jsonl")
    with pytest.raises(DatasetError, match="is a folder"):
        read_annotations(tmp_path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_no_bytes_end_in_anything_but_annotations_or_a_named_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "val.jsonl"
    path.write_bytes(content)
    with pytest.raises(DatasetError):
        read_annotations(path)


def queries(*qids: str) -> list[Annotation]:
    return [Annotation(qid, qid, "", "v", 1.0, i + 1) for i, qid in enumerate(qids)]


def test_selection_keeps_file_order_and_counts_after_choosing() -> None:
    known = queries("a", "b", "c", "d")
    assert Selection().of_queries(known) == known
    assert [a.qid for a in Selection.of(sample_ids=["d", "b", "d"]).of_queries(known)] == ["b", "d"]
    assert [a.qid for a in Selection.of(1, ["d", "b"]).of_queries(known)] == ["b"]
    assert [a.qid for a in Selection(9).of_queries(known)] == ["a", "b", "c", "d"]


def test_unknown_samples_are_listed_with_near_ones() -> None:
    with pytest.raises(DatasetError, match="no such sample") as caught:
        Selection.of(sample_ids=["1000", "1001", "x"]).of_queries(queries("1000", "2000"))
    assert "1001, x" in str(caught.value) and "such as 1000" in str(caught.value)


@pytest.mark.parametrize("number", [0, -3])
def test_fewer_than_one_sample_is_bad_usage(number: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        Selection(number).of_queries(queries("a"))
