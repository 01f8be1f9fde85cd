"""The chapter on groups of samples."""

from __future__ import annotations

from ...runtime.brief import counted
from ..figures.clustering import clustering_figure
from ..figures.style import png
from ..relations.clips import clips_of
from ..report.chapter import chapter
from ..report.context import Context
from ..report.markdown import number, percent, plain, table
from ..report.section import Section
from .clusters import CLOUDS, CLUSTERING_SEED, MOST_CLUSTERS, SEPARATED, Clusters, find_clusters

CLUSTERING_FIGURE = "gate_clustering.png"


@chapter("Samples in groups")
def clustering_chapter(context: Context) -> Section:
    """Whether the samples fall into groups by their gates, and which."""
    keys = context.once(clips_of).keys
    shared = not context.run.manifest.depends_on_text
    found = find_clusters(context.summary.per_sample, context.videos, keys, by_video=shared)
    figure = clustering_figure(found.points, found.explained, found.profiles, _subtitle(found))
    document = {
        "clustering": {
            "unit": found.unit,
            "points": found.points.height,
            "clusters": found.count,
            "reason": found.reason or None,
            "silhouettes": {str(k): value for k, value in found.silhouettes.items()},
            "explained_variance": list(found.explained),
            "silhouette_by_chance": found.chance,
            "most_clusters": MOST_CLUSTERS,
            "separated_from": SEPARATED,
            "seed": CLUSTERING_SEED,
            "profiles": found.profiles.to_dicts(),
            "samples": {} if found.reason else dict(found.points.select("sample_id", "cluster").iter_rows()),
        }
    }
    return Section(clustering_chapter.heading, _text(found), {CLUSTERING_FIGURE: png(figure)}, document)


def _subtitle(found: Clusters) -> str:
    points = counted(found.points.height, found.unit)
    if found.reason:
        return f"{points}. {found.reason}"
    return (
        f"{points}, k-means on the standardised mean gates, k = {found.count} of 2 to "
        f"{max(found.silhouettes)}: mean silhouette {max(found.silhouettes.values()):.2f}."
    )


def _text(found: Clusters) -> str:
    method = (
        f"Every gate's mean in every layer, standardised; k-means with fixed seed for 2 to {MOST_CLUSTERS} "
        "groups, the number with the largest mean silhouette kept (1: far apart, 0: touching). Groups are "
        f"there if it is at least {SEPARATED} and larger than those of {CLOUDS} single clouds of the same "
        "size and covariance. The picture shows the first two principal components"
        + (f", {percent(sum(found.explained[:2]))} of the variance." if found.explained else ".")
    )
    if found.reason:
        return f"{plain(found.reason, 600)}\n\n{method}"
    gates = found.profiles.unique(["gate", "layer"], maintain_order=True).select("gate", "layer").rows()
    heads = ["group", f"{found.unit}s", *(f"{plain(gate)} {layer}" for gate, layer in gates)]
    rows = [
        [str(cluster[0] + 1), f"{own['samples'][0]:,}", *(number(mean) for mean in own["mean"])]
        for cluster, own in found.profiles.partition_by("cluster", as_dict=True, maintain_order=True).items()
    ]
    silhouette = number(max(found.silhouettes.values()), 2)
    return f"{found.count} groups, mean silhouette {silhouette}.\n\n{table(heads, rows)}\n\n{method}"
