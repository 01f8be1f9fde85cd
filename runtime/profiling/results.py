"""What a profile holds: speed, memory, where the time goes, what tracking costs, and on what machine.

Times in the fields' units, memory in bytes, shares from 0 to 1; ``profile.json`` is this document.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import msgspec


@dataclass(frozen=True)
class ProfiledModel:
    """The file that was measured."""

    path: str
    sha256: str
    bytes: int
    format: str
    family: str
    gating: str
    outputs: str
    precision: str
    batching: str
    checkpoint_sha256: str


@dataclass(frozen=True)
class Machine:
    """Where it was measured.

    - ``device``, ``providers``, ``provider_options``, ``threads``: as the session reports them; ``threads``
      are the CPUs it may use.
    - ``cpu``, ``gpu``: their names, where they can be told. ``cpus``: how many this process may use.
    - ``load``: the system's load average over the minute before (None where it has none): a number near
      ``cpus`` says that others were computing too.
    """

    device: str
    providers: tuple[str, ...]
    provider_options: dict[str, str]
    threads: int
    cpu: str | None
    cpus: int
    gpu: str | None
    system: str
    load: float | None
    versions: dict[str, str]


@dataclass(frozen=True)
class Inputs:
    """What was computed: random samples, for ``concurrency`` callers at once.

    ``lengths`` says how long they are; ``rule`` how that was found in annotations, where it was.
    """

    lengths: tuple[str, ...]
    rule: str | None
    concurrency: int


@dataclass(frozen=True)
class Start:
    """From nothing to the first result, in a fresh process, once.

    - ``import_seconds``, ``load_seconds``: importing the libraries; reading, checking and opening the file
      (which the system's cache holds). ``first_run_seconds``: the first call, of ``first_run_batch`` samples.
    - ``libraries_bytes``: peak memory before the file is opened; ``loaded_bytes``: how far the peak has
      risen when it is open. None where the system does not report it. ``method``: how memory was measured.
    """

    import_seconds: float
    load_seconds: float
    first_run_seconds: float | None
    first_run_batch: int
    libraries_bytes: int | None
    loaded_bytes: int | None
    method: str


@dataclass(frozen=True)
class ProfileRow:
    """One size of batch at one distribution of lengths (``clips``, ``words``: the medians).

    - ``calls``: how many were timed. ``samples_per_second`` of all callers together; ``p50_ms``, ``p95_ms``,
      ``p99_ms``: percentiles of one call's duration, the checks of its inputs included.
    - ``video_hours_per_hour``: hours of video (clips × clip length) that an hour of this machine computes.
    - ``peak_bytes``: how far the peak memory of a fresh process has risen since before the file was opened,
      after a call of every caller at the longest lengths; None where it is not known.
    - ``failure``: why there are no numbers.
    """

    clips: int
    words: int
    batch_size: int
    calls: int = 0
    samples_per_second: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    video_hours_per_hour: float | None = None
    peak_bytes: int | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Recommendation:
    """The smallest batch within 3% of the best throughput at these lengths, and what it reaches."""

    clips: int
    words: int
    batch_size: int
    samples_per_second: float
    video_hours_per_hour: float


@dataclass(frozen=True)
class PartTiming:
    """One part of the graph in one run: its time, its share of all nodes' time, how many nodes it is."""

    name: str
    ms: float
    share: float
    nodes: int


@dataclass(frozen=True)
class Placement:
    """What one execution provider computed in one run."""

    provider: str
    nodes: int
    ms: float
    share: float


@dataclass(frozen=True)
class Trace:
    """Where the time of a run goes, by ONNX Runtime's own profiler: medians over ``runs`` runs.

    - ``batch_size``, ``threads``: how many samples go through the graph at once, on how many threads of the
      CPU; where a session cuts batches into chunks for one core each, those of a chunk.
    - ``on_cpu``: where the model runs on CUDA, the operators that the CPU computed, and how many of each.
    - ``arena_bytes``: the most memory ONNX Runtime's arena held, on the device it computes on; None where
      this version does not say.
    """

    clips: int
    words: int
    batch_size: int
    threads: int
    runs: int
    parts: tuple[PartTiming, ...]
    placement: tuple[Placement, ...]
    on_cpu: dict[str, int]
    arena_bytes: int | None


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of ``pairs`` pairs, and their 25th and 75th percentile.

    ``certain``: whether so many of them lie on one side of 1 that chance would do it in fewer than one of
    twenty measurements (two-sided sign test), so that the two differ at all.
    """

    median: float
    low: float
    high: float
    pairs: int
    certain: bool


@dataclass(frozen=True)
class Comparison:
    """How much longer one way takes than another, for batches of ``batch_size`` samples."""

    batch_size: int
    ratio: Ratio


@dataclass(frozen=True)
class Unavailable:
    """A section that this profile does not have, and why."""

    unavailable: str


@dataclass(frozen=True)
class Profile:
    """One profile.

    - ``trace``: where the time goes. ``tracking``: the file against itself without gates among its outputs.
      ``eager``: PyTorch with hooks that record the gates against the file; None where it was not asked for.
    """

    subject: ProfiledModel
    machine: Machine
    inputs: Inputs
    start: Start
    rows: tuple[ProfileRow, ...]
    recommended: tuple[Recommendation, ...]
    trace: Trace | Unavailable
    tracking: tuple[Comparison, ...] | Unavailable
    eager: tuple[Comparison, ...] | Unavailable | None

    def to_dict(self) -> dict[str, Any]:
        """The document as plain Python objects."""
        return cast(dict[str, Any], msgspec.to_builtins(self))
