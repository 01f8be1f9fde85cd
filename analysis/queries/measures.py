"""The numbers that stand for a query's gates: mean and mean |g|, per layer and kind, per kind, combined."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ..statistics.summary import GateSummary

MEASURED_STATISTICS = ("mean", "mean_abs")


@dataclass(frozen=True)
class Measure:
    """One number a sample.

    - ``gate``: the kind, or None for all kinds together. ``layer``: or None for all layers together, each
      weighing the same. ``statistic``: ``mean`` of the values, or ``mean_abs`` of their sizes |g|.
    """

    gate: str | None
    layer: int | None
    statistic: str

    @property
    def name(self) -> str:
        """Its column, such as ``attention_layer0_mean``, ``attention_mean_abs`` or ``combined_mean``."""
        layer = "" if self.layer is None else f"_layer{self.layer}"
        return f"{self.gate or 'combined'}{layer}_{self.statistic}"


def measures_of(summary: GateSummary) -> list[Measure]:
    """All measures of a run: combined first, then each kind over all layers and layer by layer."""
    places: list[tuple[str | None, int | None]] = [(None, None)]
    for kind in summary.kinds:
        places += [(kind, None), *((kind, layer) for layer in summary.layers)]
    return [Measure(*place, statistic) for place in places for statistic in MEASURED_STATISTICS]


def distinct_measures(summary: GateSummary) -> list[Measure]:
    """Those of :func:`measures_of` that differ: of a single layer, together and apart are the same."""
    return [
        measure
        for measure in measures_of(summary)
        if (len(summary.layers) > 1 or measure.layer is None)
        and (len(summary.kinds) > 1 or measure.gate is not None)
    ]


def query_measures(per_sample: pl.DataFrame, queries: pl.DataFrame, measures: list[Measure]) -> pl.DataFrame:
    """One row a query: ``qid, sample_id, vid`` and a column for each measure, null where no gate is finite.

    Takes ``GateSummary.per_sample`` and the run's samples; queries that share a sample share its gates.
    """
    wanted = [
        pl.col(measure.statistic)
        .filter(
            pl.lit(True) if measure.gate is None else pl.col("gate") == measure.gate,
            pl.lit(True) if measure.layer is None else pl.col("layer") == measure.layer,
        )
        .mean()
        .alias(measure.name)
        for measure in measures
    ]
    by_sample = (
        per_sample.filter(pl.col("count") > 0)
        .with_columns(pl.col(*MEASURED_STATISTICS).fill_nan(None))
        .group_by("sample_id", maintain_order=True)
        .agg(wanted)
    )
    return queries.select("qid", "sample_id", "vid").join(
        by_sample, on="sample_id", how="left", maintain_order="left"
    )


def place_label() -> pl.Expr:
    """A gate's name in a figure, of the columns ``gate`` and ``layer``."""
    layer = (
        pl.when(pl.col("layer").is_null())
        .then(pl.lit(" all layers"))
        .otherwise(pl.concat_str(pl.lit(" layer "), pl.col("layer")))
    )
    return (
        pl.when(pl.col("gate").is_null())
        .then(pl.lit("all gates"))
        .otherwise(pl.concat_str(pl.col("gate"), layer))
    )
