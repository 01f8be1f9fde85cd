"""Intervals by resampling videos, against draws written out one by one."""

from __future__ import annotations

import math

import numpy as np

from gatescope.analysis.statistics.bootstrap import VideoBootstrap


def rows(videos: int = 40, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    of_video = rng.integers(1, 5, videos)
    names = [f"v{i}" for i, count in enumerate(of_video) for _ in range(count)]
    level = np.repeat(rng.normal(size=videos), of_video)
    values = level + rng.normal(size=len(names)) * 0.1
    values[::7] = np.nan
    return names, values, level + rng.normal(size=len(names))


def written_out(names: list[str], bootstrap: VideoBootstrap, statistic) -> np.ndarray:
    order = sorted(set(names))
    index = {name: [i for i, one in enumerate(names) if one == name] for name in order}
    drawn = []
    for counts in bootstrap.counts:
        chosen = [
            i for name, n in zip(order, counts, strict=True) for _ in range(int(n)) for i in index[name]
        ]
        drawn.append(statistic(np.array(chosen)))
    return np.percentile(drawn, [2.5, 97.5])


def test_means_differences_of_subsets_and_correlations_are_those_of_the_draws() -> None:
    names, values, others = rows()
    bootstrap = VideoBootstrap(names, resamples=200)
    inside = np.arange(len(names)) % 3 == 0
    cases = [
        (bootstrap.mean(values), lambda i: np.nanmean(values[i])),
        (bootstrap.mean(values - others), lambda i: np.nanmean(values[i] - others[i])),
        (
            bootstrap.subset_difference(values, inside),
            lambda i: np.nanmean(values[i][inside[i]]) - np.nanmean(values[i][~inside[i]]),
        ),
    ]
    known = ~np.isnan(values)
    cases.append(
        (
            bootstrap.correlations(values[:, None], others[:, None])[0],
            lambda i: np.corrcoef(values[i][known[i]], others[i][known[i]])[0, 1],
        )
    )
    for interval, statistic in cases:
        low, high = written_out(names, bootstrap, statistic)
        np.testing.assert_allclose([interval.low, interval.high], [low, high], atol=1e-9)
        np.testing.assert_allclose(interval.estimate, statistic(np.arange(len(names))), atol=1e-9)
        assert 35 < interval.videos <= 40  # some have no value


def test_the_same_seed_gives_the_same_interval_and_clusters_widen_it() -> None:
    names, values, _ = rows()
    one = VideoBootstrap(names).mean(values)
    assert one == VideoBootstrap(names).mean(values)
    assert one != VideoBootstrap(names, seed=1).mean(values)
    single = VideoBootstrap([str(i) for i in range(len(names))]).mean(values)
    assert one.high - one.low > 1.2 * (single.high - single.low)


def test_one_video_or_no_value_has_an_estimate_and_no_interval() -> None:
    alone = VideoBootstrap(["a", "a"]).mean([1.0, 3.0])
    assert alone.estimate == 2 and math.isnan(alone.low) and not alone.told_apart
    nothing = VideoBootstrap(["a", "b"]).mean([math.nan, math.nan])
    assert math.isnan(nothing.estimate) and math.isnan(nothing.high) and nothing.videos == 0
    assert math.isnan(VideoBootstrap([]).mean([]).estimate)


def test_an_effect_is_told_apart_from_none() -> None:
    names, values, _ = rows()
    bootstrap = VideoBootstrap(names)
    assert bootstrap.mean(np.abs(values) + 1).told_apart
    noise = np.random.default_rng(1).normal(size=len(names))
    assert not bootstrap.mean(noise - np.nanmean(noise)).told_apart


def test_many_columns_at_once_are_each_alone() -> None:
    names, values, others = rows()
    bootstrap = VideoBootstrap(names)
    columns, beside = np.stack([values, others], 1), np.stack([others, values], 1)
    assert bootstrap.means(columns) == [bootstrap.mean(values), bootstrap.mean(others)]
    (expected,) = bootstrap.correlations(values[:, None], others[:, None])
    for found in bootstrap.correlations(columns, beside):
        np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high], atol=1e-9)
    assert bootstrap.means(np.empty((len(names), 0))) == []
