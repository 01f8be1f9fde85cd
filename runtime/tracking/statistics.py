"""Statistics of tracked gates under the keys that users' scripts read, over valid clips only."""

from __future__ import annotations

from typing import Any

import numpy as np

from .batch import TrackedBatch


def gate_statistics(batch: TrackedBatch) -> dict[str, Any]:
    """``attention_stats`` and ``ffn_stats``: one {mean, std, min, max, shape} a layer; and ``layer_info``.

    ``std`` is of the population; ``shape`` is that of the whole array, padding clips included.
    """
    entry = batch.entry()
    stats: dict[str, Any] = {
        f"{kind}_stats": [_layer(batch, kind, layer) for layer in range(len(layers))]
        for kind, layers in batch.gates.items()
    }
    return {**stats, "layer_info": entry["layer_info"]}


def layer_means(batch: TrackedBatch) -> dict[str, list[float]]:
    """``att_means`` and ``ffn_means``: the mean of every layer's gate; other kinds under their own name."""
    short = {"attention": "att"}
    return {
        f"{short.get(kind, kind)}_means": [_layer(batch, kind, layer)["mean"] for layer in range(len(layers))]
        for kind, layers in batch.gates.items()
    }


def _layer(batch: TrackedBatch, kind: str, layer: int) -> dict[str, Any]:
    values = batch.valid(kind, layer).astype(np.float64)
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "shape": list(batch.gates[kind][layer].shape),
    }
