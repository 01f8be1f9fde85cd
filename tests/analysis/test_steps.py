"""Progress of an analysis: it never counts past its end, and ends there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from gatescope.runtime.cli.main import main
from gatescope.runtime.progress import steps_progress
from tests.analysis.runs import random_gates, write_run

PLUGIN = """
from gatescope.analysis import statistic

@statistic("one")
def one(gates):
    return 1.0
"""
CALLS: dict[str, tuple[list[str], int]] = {
    "a few samples shown": ([], 1),
    "all samples shown": (["--sample", "all"], 1),
    "one asked for": (["--sample", "1001", "--raw"], 1),
    "a statistic of one's own": (["--plugin", "PLUGIN"], 1),
    "three runs compared": (["--sample", "all", "--plugin", "PLUGIN"], 3),
}


@pytest.mark.parametrize("call", CALLS)
def test_analyze_tells_where_it_is_and_never_counts_past_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], call: str
) -> None:
    """In lines, as where stderr is no terminal: each step's, as no second passes between two lines here."""
    monkeypatch.setattr("gatescope.runtime.progress.LINE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"\x89PNG undrawn"))
    (tmp_path / "own.py").write_text(PLUGIN, encoding="utf-8")
    options, runs = CALLS[call]
    for number in range(runs):
        write_run(tmp_path / f"run{number}", random_gates(5, seed=number))
    words = [str(tmp_path / "own.py") if word == "PLUGIN" else word for word in options]
    paths = [str(tmp_path / f"run{number}") for number in range(runs)]
    assert main(["analyze", *paths, "--output", str(tmp_path / "report"), *words]) == 0
    told = re.findall(r"analysing: (\d+) of (\d+) steps", capsys.readouterr().err)
    counts = [int(count) for count, _ in told]
    assert counts == [*range(1, len(told) + 1)]
    assert all(int(count) <= int(total) for count, total in told)
    assert told[-1][0] == told[-1][1]


def test_a_bar_grows_with_what_is_to_come(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with steps_progress("analysing") as show:
        for done in range(1, 6):
            show(done, 5 if done < 4 else 8)
    assert "5/8" in capsys.readouterr().err
