"""The probe of ``make matrix`` where the suite runs, and its table."""

from __future__ import annotations

import pytest

from gatescope.runtime import torch_range
from tests.matrix import __main__ as matrix
from tests.matrix.probe import FORMATS, MODELS, Outcome, probe


@pytest.mark.slow
def test_the_probe_finds_nothing_here() -> None:
    models = ["small", "own code"]
    assert list(probe(models, ["torchscript"])) == [Outcome(model, "torchscript", None) for model in models]


def test_the_driver_knows_the_probes_names() -> None:
    assert set(matrix.MODELS) == set(MODELS)
    assert tuple(FORMATS) == matrix.FORMATS


def test_rows_of_one_release_replace_each_other(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(matrix, "TABLE", tmp_path / "TABLE.md")
    works = dict.fromkeys(matrix.FORMATS, "works")
    failed = works | {"pt2": "the reference's: 'a' / 'b'"}
    matrix.write_table(matrix.Row("2.10.0", "3.11.7", "0.7.2", "small", works, "2026-01-02"))
    matrix.write_table(matrix.Row("2.9.1", "3.12.1", "0.7.2", "small", works, "2026-01-02"))
    latest = matrix.Row("2.9.1", "3.12.1", "0.7.3", "small", failed, "2026-01-03")
    matrix.write_table(latest)
    rows = matrix.read_table()
    assert [row.torch for row in rows] == ["2.9.1", "2.10.0"]
    assert rows[0] == latest


def test_the_committed_table_holds_the_range_that_is_said() -> None:
    tried = [tuple(map(int, row.torch.split(".")[:2])) for row in matrix.read_table()]
    assert tried[0] == torch_range.OLDEST
    assert tried[-1] == torch_range.NEWEST_TESTED
