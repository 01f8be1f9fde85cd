"""Limits, tables and floors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from . import sgemm
from .floors import arithmetic_floors, bus_floor, largest_differences
from .goals import Goal, Verdict
from .machine import Machine, this_machine
from .markdown import table
from .precision import gate_error, worth_it
from .report import Part, Report
from .spread import spread
from .timing import Kind

FASTER = Goal("a over b", "×", at_least=2.5)
COST = Goal("cost", "%", at_most=2)


@pytest.mark.parametrize(
    ("verdict", "cells"),
    [
        (
            Verdict(FASTER, spread([2, 3, 4])),
            ["a over b", "≥ 2.50×", "3.00×", "2.50 – 3.50 (2.00 – 4.00)", "yes"],
        ),
        (Verdict(FASTER, spread([2.4])), ["a over b", "≥ 2.50×", "2.40×", "one measurement", "no"]),
        (Verdict(COST, spread([2.0])), ["cost", "≤ 2.0%", "2.0%", "one measurement", "yes"]),
        (Verdict(COST, spread([2.5])), ["cost", "≤ 2.0%", "2.5%", "one measurement", "no"]),
        (Verdict(Goal("c", "share"), spread([0.5])), ["c", "", "0.50", "one measurement", ""]),
        (Verdict(FASTER, None, "no g++"), ["a over b", "≥ 2.50×", "no g++", "", "not measured"]),
    ],
)
def test_a_goal_is_met_or_not(verdict: Verdict, cells: list[str]) -> None:
    assert verdict.cells(judged=True) == cells
    if verdict.measured is not None:
        assert verdict.cells(judged=False)[-1] == ""


def test_a_table_lines_up_and_escapes_its_own_sign() -> None:
    assert table(["", "x"], [["a|b", "1"], ["c", "23456"]]) == (
        "|      | x     |\n|------|-------|\n| a\\|b | 1     |\n| c    | 23456 |"
    )


def test_a_report_is_markdown_for_people_and_json_for_machines(tmp_path: Path) -> None:
    machine = Machine("a CPU", 2, "Linux", {"numpy": "2"}, "2026-01-01", load=1.5)
    part = Part("Speed")
    part.add_goals([Verdict(FASTER, spread([2, 3, 4]))])
    part.add_timings([Kind("a", lambda: None, samples=32)], {"a": [0.1, 0.1]})
    report = Report(machine, {"goals": part})
    written = report.markdown()
    assert "a CPU, 2 cores" in written
    assert "not idle" in written
    assert "| a over b | ≥ 2.50× | 3.00×" in written
    assert "320.0" in written
    report.write(tmp_path / "b.json", {"batch": 32})
    document = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    assert document["goals"]["goals"][0]["met"] is True
    assert document["goals"]["seconds a call, by round"] == {"a": [0.1, 0.1]}
    assert document["settings"] == {"batch": 32}


def test_a_machine_names_itself() -> None:
    machine = this_machine("a GPU")
    assert machine.text().startswith("a GPU; ")
    assert f"numpy {np.__version__}" in machine.text()


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("AuthenticAMD", "avx2 avx512f", {"OPENBLAS_CORETYPE": "SkylakeX"}),
        ("AuthenticAMD", "avx2", {}),
        ("GenuineIntel", "avx512f", {}),
    ],
)
def test_numpy_is_told_of_avx512_where_it_would_not_see_it(
    vendor: str, flags: str, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sgemm, "cpu_facts", lambda: {"vendor_id": vendor, "flags": flags})
    environment: dict[str, str] = {}
    sgemm.use_own_kernels(environment)
    assert environment == expected
    chosen = {"OPENBLAS_CORETYPE": "Zen"}
    sgemm.use_own_kernels(chosen)
    assert chosen == {"OPENBLAS_CORETYPE": "Zen"}


def test_floors_are_bytes_over_the_bus_and_products_at_the_measured_rate() -> None:
    bus = bus_floor({"x": np.zeros((10, 100), np.float32), "y": np.zeros(1000, np.float32)}, 1e6)
    assert bus.seconds == pytest.approx(0.008)
    assert bus.reached(0.016) == pytest.approx(0.5)
    fp32, tf32 = arithmetic_floors(2_000_000, 50, {"fp32": 1e9, "TF32": 4e9})
    assert (fp32.seconds, tf32.seconds) == pytest.approx((0.1, 0.025))
    assert "TF32" in tf32.what


def test_differences_look_at_valid_clips_and_see_nan() -> None:
    clips = np.array([3, 1])
    shapes = {
        "pred_spans": (2, 4, 2),
        "saliency_scores": (2, 3),
        "gate_attention": (2, 2, 3, 1),
        "gate_ffn": (2, 2, 1, 1),
    }
    ours = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    theirs = {name: array.copy() for name, array in ours.items()}
    theirs["saliency_scores"][1, 1] = theirs["gate_attention"][1, 0, 2] = 9  # padding
    assert set(largest_differences(ours, theirs, clips).values()) == {0}
    theirs["gate_attention"][0, 1, 2] = 0.5
    theirs["gate_ffn"][1, 0, 0] = 0.25
    theirs["pred_spans"][1, 3, 1] = np.nan
    found = largest_differences(ours, theirs, clips)
    assert found == {"pred_spans": np.inf, "saliency_scores": 0, "gate_attention": 0.5, "gate_ffn": 0.25}


def test_a_precision_is_worth_it_if_faster_and_within_a_rail() -> None:
    exact = {"attention": np.zeros(3), "ffn": np.zeros(1)}
    moved = {"attention": np.array([0, 0, -0.4]), "ffn": np.zeros(1)}
    assert gate_error(exact, moved) == (0.4, 0.1)
    assert worth_it(1.5, 5e-4)
    assert not worth_it(0.9, 5e-4)
    assert not worth_it(3.0, 1e-2)
