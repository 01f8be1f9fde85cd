"""Tables of measurements are what their JSON files hold, in both languages."""

from __future__ import annotations

import json

import pytest

from ..benchmarks.goals import Goal, Verdict
from ..benchmarks.machine import Machine
from ..benchmarks.report import Part, Report
from ..benchmarks.spread import spread
from ..torture.__main__ import write
from ..torture.row import Row
from . import measurements
from .measurements import (
    DATA,
    ENGLISH_WORDS,
    TABLES,
    korean_words,
    measured_on,
    missing_cells,
    translated,
    unused_cells,
    with_tables,
)

MACHINE = Machine("a CPU", 2, "Linux", {"numpy": "2"}, "2026-03-01 10:00 UTC", load=1.5)


def test_every_cell_has_words_in_korean() -> None:
    """Where one is missing: add it to tests/documents/korean.toml and run ``make docs``."""
    assert missing_cells(korean_words()) == []
    assert unused_cells(korean_words()) == []


def test_missing_and_unused_cells_are_named() -> None:
    words = {**korean_words(), "gone {}": "x"}
    del words["gates alone"]
    assert (missing_cells(words), unused_cells(words)) == (["gates alone"], ["gone {}"])


def test_numbers_keep_their_places_in_the_sentence() -> None:
    words = {"{}% of {}": "{1}: {0}%", "M2 within {}": "M2 <= {}"}
    assert translated("99.9% of 1,000", words) == "1,000: 99.9%"
    assert translated("M2 within 2e-15", words) == "M2 <= 2e-15"
    assert translated("< 50 µs", words) == "< 50 µs"


@pytest.mark.parametrize("name", TABLES)
def test_the_pages_name_the_day_of_each_measurement(name: str) -> None:
    machine = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))["machine"]
    for page, words in (("benchmarks.md", ENGLISH_WORDS), ("ko/benchmarks.md", korean_words())):
        assert measured_on(machine, words) in (DATA.parent / page).read_text(encoding="utf-8")


def test_what_benchmarks_and_torture_write_becomes_tables(tmp_path, monkeypatch) -> None:
    part = Part("Speed")
    part.add_goals(
        [
            Verdict(Goal("a over b", "×", at_least=2.5), spread([2, 3, 4])),
            Verdict(Goal("c over d", "%", at_most=2), None, "no g++"),
        ]
    )
    Report(MACHINE, {"goals": part}).write(tmp_path / "speed.json", {})
    write(tmp_path / "monitor.json", MACHINE, [Row("kill -9", "none lost", "0 | lost", True)], short=False)
    monkeypatch.setattr(measurements, "DATA", tmp_path)
    monkeypatch.setattr(measurements, "TABLES", {name: TABLES[name] for name in ("speed", "monitor")})
    page = "a\n<!-- table: monitor -->\nold\n<!-- end: monitor -->\n"
    page += "b\n<!-- table: speed -->\n<!-- end: speed -->\n"
    assert with_tables(page, ENGLISH_WORDS) == (
        "a\n<!-- table: monitor -->\n\n"
        "| what | goal | seen on 1 March 2026 (a CPU, 2 cores, not idle) |\n|---|---|---|\n"
        "| kill -9 | none lost | 0 \\| lost |\n\n<!-- end: monitor -->\nb\n<!-- table: speed -->\n\n"
        "| | goal | measured | quartiles (smallest – largest) | met |\n|---|---|---|---|---|\n"
        "| a over b | ≥ 2.50× | 3.00× | 2.50 – 3.50 (2.00 – 4.00) | yes |\n"
        "| c over d | ≤ 2.0% | no g++ | | not measured |\n\n<!-- end: speed -->\n"
    )


def test_a_page_without_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match="<!-- table: gpu -->"):
        with_tables("<!-- table: gpu -->\n", ENGLISH_WORDS)
