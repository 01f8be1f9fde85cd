"""Every number of a summary against numpy on the whole arrays, and how the table is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from gatescope.analysis import summarise
from gatescope.analysis.overview.pictures import sample_patterns
from gatescope.analysis.statistics.videos import spread_over_videos, videos_of
from gatescope.runtime.errors import RunFolderError
from gatescope.runtime.runs import series as series_module
from gatescope.runtime.runs.gates import read_gates
from gatescope.runtime.runs.series import gate_series

from .runs import Gates, manifest_of, random_gates, write_run

KINDS = ("attention", "ffn")


def assert_statistics(row: dict[str, Any], values: NDArray[np.float32]) -> None:
    whole = values.astype(np.float64).ravel()
    assert row["count"] == whole.size
    assert (row["min"], row["max"]) == (whole.min(), whole.max())
    percentiles = [row["p25"], row["median"], row["p75"], row["p95"]]
    assert percentiles == list(np.percentile(whole, [25, 50, 75, 95]))
    assert row["mean"] == pytest.approx(whole.mean(), rel=1e-12, abs=1e-15)
    assert row["std"] == pytest.approx(whole.std(), rel=1e-9, abs=1e-12)
    assert row["mean_abs"] == pytest.approx(np.abs(whole).mean(), rel=1e-12)
    assert row["share_positive"] == np.mean(whole > 0)
    assert row["share_saturated"] == np.mean(np.abs(whole) >= 0.95)
    assert row["share_near_zero"] == np.mean(np.abs(whole) < 0.05)
    shares = np.histogram(whole, 64, (-1, 1))[0] / whole.size
    assert row["entropy"] == pytest.approx(-sum(p * np.log2(p) for p in shares if p), abs=1e-12)
    assert row["share_rails"] == np.mean(np.abs(whole) >= 0.999)


def all_of(gates: Gates, kind: str, layer: int | None = None) -> NDArray[np.float32]:
    arrays = [own[kind] if layer is None else own[kind][layer] for own in gates.values()]
    return np.concatenate([array.ravel() for array in arrays])


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("global", {"clips": 1}),
        ("clipwise", {}),
        ("elementwise", {"channels": 4}),
        ("one clip, elementwise", {"clips": 1, "channels": 4}),
    ],
)
@pytest.mark.parametrize("samples", [1, 7])
def test_statistics_equal_numpy(tmp_path: Path, name: str, shape: dict[str, int], samples: int) -> None:
    gates = random_gates(samples, 3, **shape)
    summary = summarise(write_run(tmp_path / "run", gates))
    assert (summary.samples, summary.layers, summary.kinds) == (samples, (0, 1, 2), KINDS)
    for row in summary.overall.iter_rows(named=True):
        assert_statistics(row, all_of(gates, row["gate"]))
    for row in summary.by_layer.iter_rows(named=True):
        assert_statistics(row, all_of(gates, row["gate"], row["layer"]))
    for row in summary.per_sample.iter_rows(named=True):
        own = gates[row["sample_id"]][row["gate"]][row["layer"]]
        assert_statistics(row, own)
        assert (row["clips"], row["channels"]) == own.shape
    assert summary.per_sample.height == samples * 3 * 2


def test_distribution_equals_numpy(tmp_path: Path) -> None:
    gates = random_gates(5, 2, clips=40)
    distribution = summarise(write_run(tmp_path / "run", gates)).distribution
    for layer in range(2):
        for kind in KINDS:
            bins = distribution.filter(pl.col("layer") == layer, pl.col("gate") == kind)
            expected, edges = np.histogram(all_of(gates, kind, layer), bins=64, range=(-1, 1))
            assert bins["count"].to_list() == expected.tolist()
            assert bins["low"].to_list() == edges[:-1].tolist()


def test_the_way_a_run_was_cut_changes_nothing(tmp_path: Path) -> None:
    gates = random_gates(9, 2, channels=3)
    one = summarise(write_run(tmp_path / "one", gates, per_part=9))
    many = summarise(write_run(tmp_path / "many", gates, per_part=2))
    for name in ("overall", "by_layer", "per_sample", "distribution"):
        assert getattr(one, name).equals(getattr(many, name))


def test_gates_of_both_shapes_in_one_model(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    gates = {
        str(number): {
            "attention": np.tanh(random.normal(size=(2, 5, 4))).astype(np.float32),
            "ffn": np.tanh(random.normal(size=(2, 5, 1))).astype(np.float32),
        }
        for number in range(3)
    }
    for row in summarise(write_run(tmp_path / "run", gates)).overall.iter_rows(named=True):
        assert_statistics(row, all_of(gates, row["gate"]))


def test_rows_in_any_order_are_put_together(tmp_path: Path) -> None:
    gates = random_gates(4, 2, clips=6)
    run = write_run(tmp_path / "run", gates, per_part=4)
    part = tmp_path / "run" / "gates" / "part-00000.parquet"
    pl.read_parquet(part).sample(fraction=1.0, shuffle=True, seed=1).write_parquet(part)
    for series in gate_series(run):
        assert series.clips.tolist() == list(range(6))
        assert np.array_equal(series.values, gates[series.sample_id][series.kind][series.layer])


def test_no_more_than_the_next_part_is_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = random_gates(6, 1, clips=3)
    run = write_run(tmp_path / "run", gates, per_part=2)
    read: list[int] = []

    def spy(folder: Path, part: int, **options: Any) -> pl.DataFrame:
        read.append(part)
        return read_gates(folder, part, **options)

    monkeypatch.setattr(series_module, "read_gates", spy)
    for number, series in enumerate(gate_series(run)):
        part = number // 4
        assert series.sample_id in list(gates)[2 * part : 2 * part + 2]
        assert part < len(read) <= part + 2  # this part and at most the next
    read.clear()
    summarise(run)
    assert read == [0, 1, 2] * 2


def test_nan_and_infinity_are_counted_and_left_out(tmp_path: Path) -> None:
    gates = random_gates(3, 2, clips=5)
    gates["1000"]["attention"][0, 1] = np.nan
    gates["1001"]["attention"][0, :2] = np.inf
    gates["1002"]["ffn"][1] = np.nan
    summary = summarise(write_run(tmp_path / "run", gates))
    values = all_of(gates, "attention", 0)
    row = summary.by_layer.row(0, named=True)
    assert (row["count"], row["nan_count"], row["inf_count"]) == (12, 1, 2)
    assert row["median"] == np.median(values[np.isfinite(values)].astype(np.float64))
    empty = summary.per_sample.filter(sample_id="1002", layer=1, gate="ffn").row(0, named=True)
    assert (empty["count"], empty["nan_count"]) == (0, 5)
    assert np.isnan(empty["mean"])
    assert np.isnan(empty["median"])


def test_progress_tells_every_sample_of_both_passes(tmp_path: Path) -> None:
    calls: list[None] = []
    summarise(write_run(tmp_path / "run", random_gates(5)), progress=lambda: calls.append(None))
    assert len(calls) == 10


def test_a_sample_in_two_parts_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", random_gates(3, clips=2), per_part=2)
    parts = tmp_path / "run" / "gates"
    (parts / "part-00001.parquet").write_bytes((parts / "part-00000.parquet").read_bytes())
    with pytest.raises(RunFolderError, match="stored twice"):
        summarise(run)


def test_a_gate_the_manifest_does_not_declare_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", random_gates(2, clips=2))
    part = tmp_path / "run" / "gates" / "part-00000.parquet"
    pl.read_parquet(part).with_columns(gate=pl.lit("other")).write_parquet(part)
    with pytest.raises(RunFolderError, match="a gate 'other'"):
        summarise(run)


def test_runs_without_gates_are_refused(tmp_path: Path) -> None:
    empty = write_run(tmp_path / "empty", {}, planned=3)
    with pytest.raises(RunFolderError, match="holds no samples yet"):
        summarise(empty)
    plain = write_run(
        tmp_path / "plain",
        random_gates(1),
        manifest=replace(manifest_of("clipwise", 2), gates=(), outputs_kind="plain"),
    )
    with pytest.raises(RunFolderError, match="without gate outputs"):
        summarise(plain)


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", random_gates(2, clips=2))
    (tmp_path / "run" / "gates" / "part-00000.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(RunFolderError, match=r"part-00000\.parquet cannot be read"):
        summarise(run)


def test_spread_between_and_within_videos(tmp_path: Path) -> None:
    gates = random_gates(4, 1, clips=6)
    gates["1001"] = gates["1000"]  # two queries of one video
    run = write_run(tmp_path / "run", gates, videos={"1000": "a", "1001": "a"})
    spread = spread_over_videos(summarise(run).per_sample, videos_of(run.samples.collect()))
    row = spread.filter(gate="attention").row(0, named=True)
    videos = np.stack([gates[name]["attention"].ravel().astype(float) for name in ("1000", "1002", "1003")])
    assert row["videos"] == 3
    assert row["between"] == pytest.approx(videos.mean(axis=1).std(), rel=1e-9)
    assert row["within"] == pytest.approx(np.sqrt(videos.var(axis=1).mean()), rel=1e-9)
    assert row["lowest"] == pytest.approx(videos.mean(axis=1).min(), rel=1e-9)
    # Videos of one length: the two parts make up the whole.
    assert row["between"] ** 2 + row["within"] ** 2 == pytest.approx(videos.var(), rel=1e-9)


def test_patterns_order_samples_and_join_neighbours(tmp_path: Path) -> None:
    per_sample = summarise(write_run(tmp_path / "run", random_gates(7, 2, clips=3))).per_sample
    full = sample_patterns(per_sample)
    means = per_sample.filter(gate="attention").group_by("sample_id").agg(pl.col("mean").mean())
    order = means.sort("mean")["sample_id"].to_list()
    for kind in KINDS:
        labels = full.filter(gate=kind, layer=0).sort("column")["label"].to_list()
        assert labels == order
    thinned = sample_patterns(per_sample, columns=3).filter(gate="ffn", layer=1).sort("column")
    assert thinned["samples"].to_list() == [3, 2, 2]
    own = per_sample.filter(gate="ffn", layer=1)
    first = own.filter(pl.col("sample_id").is_in(order[:3]))["mean"].mean()
    assert thinned["mean"][0] == pytest.approx(first)


def test_a_sample_without_a_mean_comes_last(tmp_path: Path) -> None:
    gates = random_gates(3, 1, clips=3)
    gates["1000"]["attention"][:] = np.nan
    patterns = sample_patterns(summarise(write_run(tmp_path / "run", gates)).per_sample)
    last = patterns.filter(gate="attention", column=2).row(0, named=True)
    assert last["label"] == "1000"
    assert np.isnan(last["mean"])
