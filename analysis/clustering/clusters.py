"""Groups of samples whose gates are alike: principal components, k-means, and whether groups are there.

Every gate of every layer is one measure of a sample, its mean, standardised. k-means (Lloyd, 1982, started by
Arthur and Vassilvitskii's k-means++, 2007) is run for every k within bounds, and the k with the largest mean
silhouette (Rousseeuw, 1987) is kept.

k-means finds groups in anything, and half of one long cloud is as far from the other half as a group would
be. So two things must hold before groups are said to be there: a silhouette of 0.25, below which there is no
substantial structure (Kaufman and Rousseeuw, 1990), and one larger than those of single clouds of the same
number and covariance, treated in the same way; as SigClust (Liu and others, 2008) does it with normal clouds,
and the gap statistic (Tibshirani and others, 2001) with uniform ones.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...runtime.array_types import Float64s
from ..statistics.wide import wide

MOST_CLUSTERS = 8
FEWEST_POINTS = 4
SEPARATED = 0.25
#: Clouds without groups that the samples are compared with, normal and uniform by turns.
CLOUDS = 20
CLUSTERING_SEED = 20_260
# Silhouettes compare every two points: beyond this many they are those of a random choice.
_COMPARED = 1000


@dataclass(frozen=True)
class Clusters:
    """Samples as points, and the groups they fall into.

    - ``points``: ``sample_id, x, y, cluster``, one row a point; x and y are the first two principal
      components of the standardised means (y is 0 where there is one), ``cluster`` counts from 0, the largest
      group first, and is 0 for all where groups are not separated.
    - ``explained``: share of the variance that each component holds, all components.
    - ``silhouettes``: by k, the mean silhouette, −1 to 1; empty where too few points differ. ``chance``: the
      largest one of clouds without groups; None where it was not asked.
    - ``profiles``: ``cluster, samples, layer, gate, mean``: what the groups' gates are.
    - ``unit``: ``video`` where the queries of a video share its gates and are one point, else ``sample``.
    - ``reason``: why there are no groups, a sentence; empty where there are.
    """

    points: pl.DataFrame
    explained: tuple[float, ...]
    silhouettes: dict[int, float]
    chance: float | None
    profiles: pl.DataFrame
    unit: str
    reason: str

    @property
    def count(self) -> int:
        """How many groups there are; 1 where none are told apart."""
        return self.points["cluster"].n_unique()


def find_clusters(
    per_sample: pl.DataFrame, videos: pl.DataFrame, keys: Sequence[tuple[int, str]], *, by_video: bool
) -> Clusters:
    """Cluster the samples of ``GateSummary.per_sample`` by the means of their gates ``keys`` (layer, kind).

    ``videos``: ``sample_id, vid``. With ``by_video`` the first sample of every video stands for it: queries
    that share their gates would make groups of themselves. Samples without a finite mean of some gate are
    left out.
    """
    from threadpoolctl import threadpool_limits

    chosen = videos.unique("vid", keep="first", maintain_order=True) if by_video else videos
    ids: list[str] = chosen["sample_id"].to_list()
    means = wide(per_sample, "mean", ids, keys)
    whole = np.isfinite(means.sum(axis=1))
    ids, means = [one for one, kept in zip(ids, whole, strict=True) if kept], means[whole]
    unit = "video" if by_video else "sample"
    places, explained = _components(means)
    labels, silhouettes, chance, reason = np.zeros(len(ids), np.intp), dict[int, float](), None, ""
    distinct = len(np.unique(means, axis=0)) if len(means) else 0
    if distinct < FEWEST_POINTS:
        reason = (
            f"Too few to group: {distinct} {unit}{'' if distinct == 1 else 's'} with different gates, "
            f"at least {FEWEST_POINTS} are needed."
        )
    else:
        points = _standardised(means)
        # One thread: points are few, and threads that wait for each other cost more than they bring.
        with threadpool_limits(1):
            labels, silhouettes = _k_means(points, distinct)
            best = max(silhouettes.values())
            chance = _silhouette_of_clouds(points) if best >= SEPARATED else None
        why = f"The {unit}s do not fall into groups: the best division has a mean silhouette of {best:.2f}"
        if chance is None:
            reason = f"{why}; below {SEPARATED} there is no structure to speak of."
        elif best <= chance:
            reason = f"{why}, but divisions of a single cloud of this shape reach {chance:.2f}."
    if reason:
        labels = np.zeros(len(ids), np.intp)
    return Clusters(
        points=pl.DataFrame(
            {"sample_id": ids, "x": places[:, 0], "y": places[:, 1], "cluster": labels},
            schema={"sample_id": pl.String, "x": pl.Float64, "y": pl.Float64, "cluster": pl.UInt8},
        ),
        explained=explained,
        silhouettes=silhouettes,
        chance=chance,
        profiles=_profiles(means, labels, keys),
        unit=unit,
        reason=reason,
    )


def _standardised(means: Float64s) -> Float64s:
    """Every column with mean 0 and standard deviation 1; a constant one is 0 throughout."""
    spread = means.std(axis=0)
    varies = means.max(axis=0, initial=-np.inf) > means.min(axis=0, initial=np.inf)
    return np.where(varies, (means - means.mean(axis=0)) / np.where(varies, spread, 1.0), 0.0)


def _components(means: Float64s) -> tuple[Float64s, tuple[float, ...]]:
    """The first two principal components (points, 2), and the share of variance of each of all."""
    from sklearn.decomposition import PCA

    places: Float64s = np.zeros((len(means), 2))
    if len(means) < 2 or not np.ptp(means, axis=0).any():
        return places, ()
    found: Any = PCA(svd_solver="full").fit(_standardised(means))
    turned: Float64s = found.transform(_standardised(means))
    # The sign of a component means nothing: the measure that weighs most in it counts as positive.
    signs = np.sign(found.components_[np.arange(len(found.components_)), np.abs(found.components_).argmax(1)])
    shown = min(2, turned.shape[1])
    places[:, :shown] = (turned * signs)[:, :shown]
    return places, tuple(float(share) for share in found.explained_variance_ratio_)


def _silhouette_of_clouds(points: Float64s) -> float:
    """The largest silhouette that the same search finds in clouds of the same size and covariance."""
    rng = np.random.default_rng(CLUSTERING_SEED)
    count = min(len(points), _COMPARED)
    values, vectors = np.linalg.eigh(np.cov(points, rowvar=False).reshape(points.shape[1], -1))
    shape = vectors * np.sqrt(np.maximum(values, 0.0))
    size = count, points.shape[1]
    half = math.sqrt(3)  # a uniform value in ±√3 has variance 1
    draws = (
        rng.standard_normal(size) if number % 2 else rng.uniform(-half, half, size)
        for number in range(CLOUDS)
    )
    return max(max(_k_means(draw @ shape.T, count, starts=2)[1].values()) for draw in draws)


def _k_means(
    points: Float64s, distinct: int, *, starts: int = 10
) -> tuple[NDArray[np.intp], dict[int, float]]:
    """The labels of the best k, and the silhouette of every k."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import silhouette_score

    silhouettes: dict[int, float] = {}
    labels_of: dict[int, NDArray[np.intp]] = {}
    for k in range(2, min(MOST_CLUSTERS, distinct - 1) + 1):
        with warnings.catch_warnings():
            # Points that differ by rounding alone count as distinct here, but not there.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model: Any = KMeans(k, n_init=cast(Any, starts), random_state=CLUSTERING_SEED)
            labels = model.fit_predict(points)
        if len(np.unique(labels)) < 2:
            continue
        labels_of[k] = labels
        compared = _COMPARED if len(points) > _COMPARED else None
        silhouettes[k] = float(
            silhouette_score(points, labels, sample_size=compared, random_state=CLUSTERING_SEED)
        )
    if not silhouettes:
        return np.zeros(len(points), np.intp), {1: 0.0}
    best = max(silhouettes, key=lambda k: silhouettes[k])
    order = np.argsort(-np.bincount(labels_of[best]), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[labels_of[best]], silhouettes


def _profiles(means: Float64s, labels: NDArray[np.intp], keys: Sequence[tuple[int, str]]) -> pl.DataFrame:
    rows = [
        (int(cluster), int((labels == cluster).sum()), *key, float(means[labels == cluster, at].mean()))
        for cluster in np.unique(labels)
        for at, key in enumerate(keys)
    ]
    types = {
        "cluster": pl.UInt8,
        "samples": pl.UInt32,
        "layer": pl.UInt8,
        "gate": pl.String,
        "mean": pl.Float64,
    }
    return pl.DataFrame(rows, schema=types, orient="row")
