"""``{id}_details.json``: everything known of one sample, under the keys that users' scripts read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..relations.clips import ClipStatistics
from ..report.document import statistics_block


def sample_details(
    sample_id: str,
    rows: Sequence[Mapping[str, Any]],
    queries: Sequence[Mapping[str, Any]],
    clips: ClipStatistics,
    *,
    gating: str,
    layers: Sequence[int],
) -> dict[str, Any]:
    """The document. ``rows`` are the sample's of ``GateSummary.per_sample``, ``queries`` its queries.

    ``shape`` is that of the array (1, L | 1, 1 | d), with the axis of the batch.
    """
    place = clips.place[sample_id]
    column = {tuple(key): at for at, key in enumerate(clips.keys)}
    analysis: list[dict[str, Any]] = [{"layer_index": layer} for layer in layers]
    of_layer = dict(zip(layers, analysis, strict=True))
    for row in rows:
        at = column[row["layer"], row["gate"]]
        block = {"shape": [1, row["clips"], row["channels"]], **statistics_block(row)}
        for name, values in (
            ("contribution", clips.contribution),
            ("correlation_with_audio_strength", clips.strength_correlations),
        ):
            if not math.isnan(values[place, at]):
                block[name] = float(values[place, at])
        of_layer[row["layer"]][f"{row['gate']}_gate"] = block
    return {
        "sample_id": sample_id,
        "gating_type": gating,
        "num_layers": len(layers),
        "queries": [{name: value for name, value in row.items() if name != "sample_id"} for row in queries],
        "layer_analysis": analysis,
        "correlations_over_clips": _correlations(clips, place),
    }


def _correlations(clips: ClipStatistics, place: int) -> list[dict[str, Any]]:
    """Every two gates that move at the sample's clips, and how far together."""
    return [
        {
            "layer": clips.keys[one].layer,
            "gate": clips.keys[one].kind,
            "other_layer": clips.keys[other].layer,
            "other_gate": clips.keys[other].kind,
            "correlation": float(clips.correlations[place, at]),
        }
        for at, (one, other) in enumerate(clips.pairs)
        if not math.isnan(clips.correlations[place, at])
    ]
