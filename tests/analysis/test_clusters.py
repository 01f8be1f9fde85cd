"""Groups are found where there are some, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from gatescope.analysis import analyze_run
from gatescope.analysis.clustering.clusters import Clusters, find_clusters

from .runs import random_gates, write_run


def clusters_of(means: NDArray[np.float64], *, vids: list[str] | None = None) -> Clusters:
    """Of samples whose gates have these means (samples, layers)."""
    samples, layers = means.shape
    ids = [str(number) for number in range(samples)]
    frame = pl.DataFrame(
        {
            "sample_id": pl.Series(np.repeat(ids, layers).tolist(), dtype=pl.String),
            "layer": pl.Series(np.tile(np.arange(layers), samples), dtype=pl.UInt8),
            "gate": pl.Series(["attention"] * means.size, dtype=pl.String),
            "mean": means.ravel(),
        }
    )
    videos = pl.DataFrame(
        {"sample_id": ids, "vid": vids or ids}, schema={"sample_id": pl.String, "vid": pl.String}
    )
    keys = [(layer, "attention") for layer in range(layers)]
    return find_clusters(frame, videos, keys, by_video=vids is not None)


def groups(centres: list[float], each: int, spread: float) -> NDArray[np.float64]:
    random = np.random.default_rng(0)
    return np.repeat(centres, each)[:, None] + random.normal(0, spread, (each * len(centres), 4))


def test_planted_groups_are_found() -> None:
    found = clusters_of(groups([0.0, 2.0, -3.0], 15, 0.2))
    assert (found.count, found.reason) == (3, "")
    labels = found.points["cluster"].to_numpy().reshape(3, 15)
    assert (labels == labels[:, :1]).all() and len(set(labels[:, 0].tolist())) == 3
    assert found.silhouettes[3] == max(found.silhouettes.values()) > (found.chance or 1)
    assert set(found.silhouettes) == set(range(2, 9))
    profile = found.profiles.filter(pl.col("mean") > 1.5)
    assert profile["samples"].to_list() == [15] * 4
    assert found.explained[0] > 0.9 and sum(found.explained) == pytest.approx(1)


@pytest.mark.parametrize("samples", [40, 300])
def test_one_long_cloud_is_not_cut_in_two(samples: int) -> None:
    random = np.random.default_rng(1)
    along = random.normal(size=(samples, 1)) + 0.1 * random.normal(size=(samples, 4))
    for means in (along, random.uniform(-1, 1, (samples, 1)) + 0.1 * random.normal(size=(samples, 4))):
        found = clusters_of(means)
        assert found.count == 1
        assert "a single cloud of this shape" in found.reason
        assert max(found.silhouettes.values()) > 0.4  # which alone would have passed for structure


def test_a_round_cloud_has_no_structure() -> None:
    found = clusters_of(np.random.default_rng(2).normal(size=(100, 4)))
    assert found.count == 1 and found.chance is None
    assert "no structure to speak of" in found.reason


@pytest.mark.parametrize(
    "means", [np.ones((9, 2)), np.arange(3.0)[:, None], np.empty((0, 2)), np.ones((1, 1))]
)
def test_too_few_different_samples_are_not_grouped(means: NDArray[np.float64]) -> None:
    found = clusters_of(means)
    assert "Too few to group" in found.reason
    assert found.points.height == len(means)


def test_the_components_are_those_of_the_standardised_means() -> None:
    means = groups([0.0, 1.0], 10, 0.5) * [1.0, 5.0, 0.1, 1.0]
    found = clusters_of(means)
    standard = (means - means.mean(0)) / means.std(0)
    _, sizes, axes = np.linalg.svd(standard, full_matrices=False)
    np.testing.assert_allclose(np.abs(found.points["x"]), np.abs(standard @ axes[0]), atol=1e-9)
    np.testing.assert_allclose(found.explained, sizes**2 / (sizes**2).sum())


def test_queries_of_one_video_are_one_point() -> None:
    means = np.repeat(groups([0.0], 6, 1.0), 5, axis=0)
    assert clusters_of(means).count > 1  # copies are groups
    found = clusters_of(means, vids=[str(number // 5) for number in range(30)])
    assert (found.unit, found.points.height) == ("video", 6)
    assert found.count == 1


def test_samples_without_a_mean_are_left_out_and_the_same_is_found_again(tmp_path: Path) -> None:
    means = groups([0.0, 3.0], 8, 0.2)
    means[3, 1] = np.nan
    found, again = clusters_of(means), clusters_of(means)
    assert found.points.height == 15 and "3" not in found.points["sample_id"].to_list()
    assert found.points.equals(again.points) and found.silhouettes == again.silhouettes


@pytest.mark.usefixtures("undrawn")
def test_the_report_names_the_groups(tmp_path: Path) -> None:
    gates = random_gates(12, 2, clips=5)
    for number, own in enumerate(gates.values()):
        for array in own.values():
            array[:] = 0.1 * array + (0.8 if number % 2 else -0.8)
    run = write_run(tmp_path / "run", gates)
    found = analyze_run(run, tmp_path / "report").document["clustering"]
    assert (found["clusters"], found["reason"], found["unit"]) == (2, None, "video")
    assert len(set(found["samples"].values())) == 2
    assert "2 groups, mean silhouette" in (tmp_path / "report" / "ANALYSIS_REPORT.md").read_text(
        encoding="utf-8"
    )
