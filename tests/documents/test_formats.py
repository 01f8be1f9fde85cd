"""Documents that gatescope really wrote are as their schemas say, down to the last field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gatescope.runtime.monitor.baseline.stored import load_baseline, save_baseline

from ..compat.test_0_1_0 import FROZEN
from .formats import DOCUMENTS, schema

WRITTEN = {
    "manifest": "manifest.json",
    "run": "runs/clipwise/run.json",
    "ablation-interventions": "ablation/plan.json",
    "baseline": "baseline.json",
    "gate-log": "gate-log/log.json",
    "gate-log-clock": "gate-log/clock.json",
    "gate-log-segment": "gate-log/sealed/*/segment.json",
}


def assert_described(kind: type, document: Any) -> None:
    """The document is one of ``kind``, and ``kind`` leaves none of its fields out."""
    again = msgspec.to_builtins(msgspec.convert(document, kind))
    assert holds(json.loads(json.dumps(again)), document)


def holds(whole: Any, part: Any) -> bool:
    """Whether ``whole`` has every field of ``part`` with the same value."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and holds(whole[name], own) for name, own in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) == len(whole) and all(map(holds, whole, part))
    return bool(whole == part)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_that_was_written_is_as_its_schema_says(name: str) -> None:
    [path] = FROZEN.glob(WRITTEN[name])
    assert_described(DOCUMENTS[name], json.loads(path.read_text(encoding="utf-8")))


def test_what_is_written_today_is_as_its_schema_says(tmp_path: Path) -> None:
    save_baseline(load_baseline(FROZEN / "baseline.json"), tmp_path / "b.json")
    assert_described(DOCUMENTS["baseline"], json.loads((tmp_path / "b.json").read_text(encoding="utf-8")))


def test_every_format_is_compared_with_a_document() -> None:
    assert set(WRITTEN) == set(DOCUMENTS)


def test_a_field_that_no_schema_names_is_noticed() -> None:
    document = json.loads((FROZEN / WRITTEN["run"]).read_text(encoding="utf-8"))
    with pytest.raises(AssertionError):
        assert_described(DOCUMENTS["run"], {**document, "new": 1})


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_schema_says_what_the_document_is(name: str) -> None:
    made = json.loads(schema(DOCUMENTS[name]))
    own = made["$defs"][made["$ref"].rpartition("/")[2]]
    assert own["description"] and own["properties"]
    text = schema(DOCUMENTS[name])
    assert "``" not in text and ":class:" not in text
