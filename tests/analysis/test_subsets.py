"""Subsets of queries: read from every kind of list, and refused by name where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gatescope.runtime.data.subsets import read_subsets
from gatescope.runtime.errors import DatasetError, UsageError

KNOWN = ["1", "2", "3", "a b"]


@pytest.mark.parametrize(
    ("content", "qids"),
    [
        ("1\n\n 3 \r\n", {"1", "3"}),
        ("\ufeff1\n99\n", {"1", "99"}),
        ("a b", {"a b"}),
        (json.dumps({"qid": 1, "query": "x"}) + "\n" + json.dumps({"qid": "a b"}), {"1", "a b"}),
        ('[1, \n"2"]', {"1", "2"}),
        (json.dumps([{"qid": 3}, 1]), {"1", "3"}),
        ('"1"\n"2"\n', {"1", "2"}),
    ],
)
def test_every_kind_of_list(tmp_path: Path, content: str, qids: set[str]) -> None:
    (tmp_path / "list=1.txt").write_text(content, encoding="utf-8")
    assert read_subsets([f"audio={tmp_path / 'list=1.txt'}"], KNOWN) == {"audio": qids}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "names no query"),
        ("[]", "names no query"),
        ("77\n78\n", "'audio' .* has none of the queries at hand"),
        ('{"query": "x"}', "line 1 has no qid"),
        ('1\n{"qid": ', "line 2 is not JSON"),
        ("[1, 2", "the list is not JSON"),
        ("[true]", "the qid of entry 1 is true"),
        ('{"qid": [1]}', r"the qid of line 1 is \[1\]"),
    ],
)
def test_files_that_are_no_list(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "list").write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError, match=f"(?s){says}"):
        read_subsets([f"audio={tmp_path / 'list'}"], KNOWN)


def test_bytes_that_are_no_text_and_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="not UTF-8"):
        read_subsets([f"audio={tmp_path / 'list'}"], KNOWN)
    with pytest.raises(DatasetError, match="no subset file"):
        read_subsets([f"audio={tmp_path}"], KNOWN)


def test_specifications_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("1", encoding="utf-8")
    for spec in ("audio", "=list", "audio=", " =list"):
        with pytest.raises(UsageError, match="does not name a subset"):
            read_subsets([spec], KNOWN)
    twice = [f"audio={tmp_path / 'list'}"] * 2
    with pytest.raises(UsageError, match="two subsets are called 'audio'"):
        read_subsets(twice, KNOWN)
