"""Writes run folders with given gates, so that every number of an analysis can be recomputed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gatescope.runtime.data.dataset import Selection
from gatescope.runtime.gates.manifest import Manifest
from gatescope.runtime.runs.info import FeatureRef, FileRef, RunInfo, Skipped
from gatescope.runtime.runs.reader import Run, open_run
from gatescope.runtime.runs.schema import SAMPLES_SCHEMA
from gatescope.runtime.runs.table import SampleGates
from gatescope.runtime.runs.writer import RunWriter

from ..runtime.tiny_model import Gating, tiny_manifest

Gates = Mapping[str, Mapping[str, NDArray[np.float32]]]


def manifest_of(
    gating: Gating, layers: int, range_: tuple[float, float] = (-1.0, 1.0), **fields: Any
) -> Manifest:
    """A tracked model's manifest whose gates all have the range ``range_``."""
    manifest = tiny_manifest(gating, layers)
    return replace(manifest, gates=tuple(replace(gate, range=range_) for gate in manifest.gates), **fields)


def write_run(
    folder: Path,
    gates: Gates,
    *,
    manifest: Manifest | None = None,
    videos: Mapping[str, str] | None = None,
    per_part: int = 2,
    planned: int | None = None,
    skipped: Sequence[Skipped] = (),
    predictions: Mapping[str, Mapping[str, Any]] | None = None,
    contributions: Gates | None = None,
    audio: str = "features/pann",
) -> Run:
    """A run of ``gates``, by sample and kind (layers, L | 1, 1 | d); ``videos`` gives the vid of a sample.

    ``predictions``: one a sample, in the submission format. ``contributions``: by sample and kind (layers,
    L).
    ``audio``: the folder of the audio features. With ``planned`` larger than the number of samples the run is
    left unfinished.
    """
    first = next(iter(gates.values()), {"attention": np.zeros((1, 2, 1), np.float32)})["attention"]
    gating: Gating = "elementwise" if first.shape[2] > 1 else "global" if first.shape[1] == 1 else "clipwise"
    info = RunInfo(
        model=FileRef("models/model.onnx", "a" * 64),
        manifest=manifest or manifest_of(gating, len(first)),
        annotations=FileRef("data/val.jsonl", "b" * 64),
        features=FeatureRef(("features/clip",), audio, "features/text"),
        selection=Selection(),
        batch_size=per_part,
        device="cpu",
        samples=planned or len(gates),
        samples_per_part=per_part,
        predictions=predictions is not None,
        versions={"gatescope": "0.1.0"},
        skipped=tuple(skipped),
    )
    names = [*gates, *(f"unreached-{number}" for number in range(info.samples - len(gates)))]
    table = pl.DataFrame(
        [(name, name, (videos or {}).get(name, f"v-{name}"), _clips(gates, name), 150.0) for name in names],
        schema=SAMPLES_SCHEMA,
        orient="row",
    )
    folder.mkdir(parents=True)
    writer = RunWriter.begin(folder, info, table)
    samples = [
        SampleGates(name, dict(own), dict((contributions or {}).get(name, {}))) for name, own in gates.items()
    ]
    for start in range(0, len(samples), per_part):
        part = samples[start : start + per_part]
        lines = [f"{json.dumps(predictions[own.sample_id])}\n" for own in part] if predictions else []
        writer.write_part(part, lines, info.timings)
    if planned is None:
        writer.finish()
    return open_run(folder)


def _clips(gates: Gates, name: str) -> int:
    """As many clips as there are gates over them; 75 where that is not known."""
    longest = max((array.shape[1] for array in gates.get(name, {}).values()), default=1)
    return longest if longest > 1 else 75


def random_gates(
    samples: int, layers: int = 2, *, clips: int | None = None, channels: int = 1, seed: int = 0
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Tanh gates around a level of each layer and kind; lengths differ unless ``clips`` is given."""
    random = np.random.default_rng(seed)
    levels = {kind: random.normal(0, 0.7, (layers, 1, 1)) for kind in ("attention", "ffn")}
    gates: dict[str, dict[str, NDArray[np.float32]]] = {}
    for number in range(samples):
        length = clips or int(random.integers(1, 12))
        own = random.normal(0, 0.3)
        gates[str(1000 + number)] = {
            kind: np.tanh(level + own + random.normal(0, 0.5, (layers, length, channels))).astype(np.float32)
            for kind, level in levels.items()
        }
    return gates
