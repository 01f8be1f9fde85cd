"""A gate table without a run folder is analysed like the run it could be from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gatescope.analysis import GateAnalyzer, summarise
from gatescope.runtime.errors import InputError, UsageError

from .runs import random_gates, write_run


@pytest.mark.parametrize(
    ("gating", "shape"),
    [("global", {"clips": 1}), ("clipwise", {}), ("elementwise", {"channels": 3})],
)
def test_a_table_is_analysed_like_its_run(tmp_path: Path, gating: str, shape: dict[str, int]) -> None:
    gates = random_gates(7, 2, **shape)
    run = write_run(tmp_path / "run", gates, per_part=7)
    shuffled = run.gates.collect().sample(fraction=1.0, shuffle=True, seed=1)
    if gating == "elementwise":
        shuffled = shuffled.with_columns(pl.col("values").arr.to_list())
    analyzer = GateAnalyzer(shuffled.lazy())
    assert analyzer.run.manifest.gating == gating
    assert "Nothing says the range of the attention gate" in analyzer.run.manifest.warnings[0]
    found, expected = summarise(analyzer.run), summarise(run)
    assert found.ranges == expected.ranges
    for name in ("overall", "by_layer", "distribution"):
        assert_frame_equal(getattr(found, name), getattr(expected, name))
    assert_frame_equal(found.per_sample, expected.per_sample, check_row_order=False)
    for name, own in gates.items():
        np.testing.assert_array_equal(analyzer.model.gate_history[name]["ffn_gates"][1], own["ffn"][1][None])


@pytest.mark.usefixtures("undrawn")
def test_what_the_caller_knows_and_subclasses(tmp_path: Path) -> None:
    gates = random_gates(4, 1, clips=5)
    frame = write_run(tmp_path / "run", gates).gates.with_columns(
        value=pl.col("value").abs(), vid=pl.lit("one"), qid="q" + pl.col("sample_id")
    )

    class Mine(GateAnalyzer):
        def largest(self) -> float:
            return max(float(own["attention_gates"][0].max()) for own in self.model.gate_history.values())

    analyzer = Mine(frame, ranges={"attention": (0.0, 1.0), "ffn": (0.0, 2.0)}, gating="clipwise")
    assert analyzer.largest() == pytest.approx(max(np.abs(own["attention"]).max() for own in gates.values()))
    result = analyzer.analyze_all_samples(tmp_path / "report", samples=["q1001"], compare=[], raw=True)
    assert result.summary.ranges == {"attention": (0.0, 1.0), "ffn": (0.0, 2.0)}
    assert result.document["total_videos"] == 1
    assert not result.warnings
    assert (tmp_path / "report" / "raw_data" / "1001_layer0_att.npy").is_file()
    assert json.loads((tmp_path / "report" / "overall_statistics.json").read_bytes())["compared_samples"]
    with pytest.raises(TypeError):
        analyzer.analyze_all_samples(tmp_path / "report", smaples=["1001"])


def test_tables_that_are_none_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", random_gates(2, 1, clips=3))
    frame = run.gates.collect()
    for bad, message in [
        (frame.drop("clip"), "lacks clip"),
        (frame.head(0), "has no rows"),
        (pl.concat([frame, frame.head(1)]), "names a gate of a clip twice"),
        (frame.with_columns(layer=pl.lit(300)), "cannot be read"),
        (frame.with_columns(sample_id=pl.lit(None, pl.String)), "do not say what they are of"),
        (frame.with_columns(values=pl.col("value")), "not a column of arrays"),
    ]:
        with pytest.raises(InputError, match=message):
            GateAnalyzer(bad.lazy())
    with pytest.raises(InputError, match="no gating 'clip-wise'"):
        GateAnalyzer(frame, gating="clip-wise")
    with pytest.raises(InputError, match="gates that are not there: mha"):
        GateAnalyzer(frame, ranges={"mha": (-1.0, 1.0)})
    with pytest.raises(UsageError, match="for a table of gates"):
        GateAnalyzer(run, gating="clipwise")


@pytest.mark.usefixtures("undrawn")
def test_null_values_count_as_nan(tmp_path: Path) -> None:
    frame = write_run(tmp_path / "run", random_gates(2, 1, clips=3)).gates.collect()
    first = pl.int_range(pl.len()) == 0
    frame = frame.with_columns(value=pl.when(first).then(None).otherwise("value"))
    result = GateAnalyzer(frame).analyze_all_samples(tmp_path / "report")
    assert result.document["attention_gates"]["nan_count"] == 1
    assert any("1 values are NaN" in warning for warning in result.warnings)
