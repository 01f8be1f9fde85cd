"""The JSON documents that gatescope writes, as types, and their JSON Schemas in docs/formats/.

Most are the very classes that are written and read. A baseline and a gate log are put together by hand in
``stored.py`` and ``folder.py``: they are described here, and tests compare the description with real files.
"""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import msgspec

from gatescope.analysis.causes.ablation.plan import AblationPlan
from gatescope.runtime.gates.manifest import Manifest
from gatescope.runtime.monitor.baseline.baseline import BaselineSource
from gatescope.runtime.monitor.log.clock import LogTime
from gatescope.runtime.monitor.log.sealed import SealedFacts
from gatescope.runtime.monitor.model import WatchedModel
from gatescope.runtime.runs.info import RunInfo

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class WindowThresholds(msgspec.Struct, forbid_unknown_fields=True):
    """Thresholds of one size of window; rows of arrays are gates of layers, as in the model's ``gates``.

    - ``window``: videos. ``factor``: how far beyond a gate's usual spread an alarm is.
    - ``centre``, ``spread``: by detector and row. ``flags``: by detector, the number of videos by row.
    """

    window: int
    factor: float
    centre: list[list[float]]
    spread: list[list[float]]
    flags: dict[str, list[int]]


class PackedCounts(msgspec.Struct, forbid_unknown_fields=True):
    """Every video's counts: little-endian arrays, compressed by zlib, as base64.

    - ``videos``, ``samples``: uint64, what stands for the names. ``slices``: int32, indices of
      ``slice_names``. ``integers``: int64 (video, row, count). ``sums``: float64 (video, row, sum).
    """

    videos: str
    samples: str
    slice_names: list[str]
    slices: str
    integers: str
    sums: str


class FaultSignature(msgspec.Struct, forbid_unknown_fields=True):
    """What a fault does to the gates of this model; ``shift`` and ``spread`` are packed float32 arrays."""

    label: str
    variant: str
    power: float
    beyond: float
    like: list[str]
    shift: str
    spread: str


class FaultSignatures(msgspec.Struct, forbid_unknown_fields=True):
    """What was learned from ``videos`` videos that were broken on purpose; ``spread`` is a packed array."""

    videos: int
    features: int
    spread: str
    faults: list[FaultSignature]


class BaselineDocument(msgspec.Struct, forbid_unknown_fields=True):
    """What ``gatescope monitor baseline`` writes.

    - ``format``: ``gatescope baseline``. ``gatescope``: the version that wrote it, at ``created`` (ISO 8601).
    - ``videos``: how many; ``slices``: how many of each. ``false_alarms``: the rate that thresholds hold.
    - ``windows``: videos in a sliding window. ``totals``: counts of all videos together, by row and bin.
    - ``thresholds``: by slice, those of each window. ``missing``: by slice, after how many
      videos of other slices in a row it is missing.
    - ``signatures``: what faults look like; null where nothing was learned, see ``signatures_note``.
    """

    format: str
    format_version: int
    gatescope: str
    created: str
    model: WatchedModel
    sources: list[BaselineSource]
    videos: int
    slices: dict[str, int]
    false_alarms: float
    windows: list[int]
    totals: dict[str, Any]
    thresholds: dict[str, list[WindowThresholds]]
    missing: dict[str, int]
    signatures_note: str
    signatures: FaultSignatures | None
    counts: PackedCounts


class LogDocument(msgspec.Struct, forbid_unknown_fields=True):
    """``log.json``, which a gate log begins with; ``format``: ``gatescope gate log``."""

    format: str
    format_version: int
    model: WatchedModel
    manifest: Manifest


#: By the name of the schema, the type of the document.
DOCUMENTS: dict[str, type] = {
    "manifest": Manifest,
    "run": RunInfo,
    "ablation-interventions": AblationPlan,
    "baseline": BaselineDocument,
    "gate-log": LogDocument,
    "gate-log-clock": LogTime,
    "gate-log-segment": SealedFacts,
}


def schema(kind: type) -> str:
    """The JSON Schema of a document, indented for people."""
    made = msgspec.json.schema(kind)
    for own in made.get("$defs", {}).values():
        if "description" in own:
            own["description"] = _plain(own["description"])
    return json.dumps({"$schema": _DIALECT, **made}, indent=1, ensure_ascii=False) + "\n"


def _plain(docstring: str) -> str:
    """A docstring without indentation, which depends on Python's version, and without Sphinx's marks."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", inspect.cleandoc(docstring))
    return text.replace("``", "`")
