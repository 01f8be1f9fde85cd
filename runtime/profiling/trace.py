"""Where the time of a run goes, by ONNX Runtime's profiler, in a fresh process: this file is also that.

On CUDA a node returns before its kernels have run. So that its time is the kernels' too, that process is
told to wait for each of them (``CUDA_LAUNCH_BLOCKING``); as a whole a run is slower then.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx

from ..errors import OutOfMemoryError
from ..gates.manifest import Manifest
from ..session.device import DeviceOptions
from ..session.inputs import check_batch
from ..session.model_file import ModelFile, read_model_file
from .fresh import answer_requests, in_fresh_process, tell_parent
from .parts import OTHER, in_order, parts_of_nodes
from .results import PartTiming, Placement, Trace
from .samples import random_batch
from .timing import Budget

_WARM_UP = 2
_MOST_RUNS = 50
_SUFFIX = "_kernel_time"
_CPU = "CPUExecutionProvider"


@dataclass(frozen=True)
class TraceRequest:
    """What to run: batches of ``batch_size`` samples, all ``clips`` and ``words`` long, on ``threads``."""

    model: str
    wanted: DeviceOptions
    threads: int
    clips: int
    words: int
    batch_size: int
    budget: Budget


@dataclass(frozen=True)
class Node:
    """One node in one run: its name, operator and provider, and how long it took, in microseconds."""

    name: str
    operator: str
    provider: str
    duration: int


def measure_trace(request: TraceRequest) -> Trace:
    """Run an ONNX model under the profiler, in a fresh process, and add up.

    Raises :class:`~gatescope.runtime.errors.OutOfMemoryError` where the system ends that process.
    """
    outcome = in_fresh_process("trace", request, environment={"CUDA_LAUNCH_BLOCKING": "1"})
    if outcome.killed:
        raise OutOfMemoryError(
            "memory ran out under the profiler",
            received=f"the system ended a process that ran {request.batch_size} samples at once",
            fix="give smaller sizes with --batch-size",
        )
    return msgspec.json.decode(outcome.documents[0], type=Trace)


def trace(request: TraceRequest) -> Trace:
    """The trace of a model that runs in this process; leaves no file behind."""
    model = read_model_file(request.model)
    with tempfile.TemporaryDirectory(prefix="gatescope-") as folder:
        events, optimised = _profile(model, request, Path(folder))
    parts = parts_of_nodes(onnx.load_model_from_string(model.content).graph, optimised)
    runs = list(nodes_of_runs(events))[_WARM_UP:]
    arenas = [int(event.get("args", {}).get("mem_arena_held", 0)) for event in events]
    return Trace(
        clips=request.clips,
        words=request.words,
        batch_size=request.batch_size,
        threads=request.threads,
        runs=len(runs),
        parts=times_of_parts(runs, parts),
        placement=times_of_providers(runs),
        on_cpu=left_to_the_cpu(runs[0]) if request.wanted.device == "cuda" else {},
        arena_bytes=max(arenas, default=0) or None,
    )


def nodes_of_runs(events: Sequence[Mapping[str, Any]]) -> Iterator[list[Node]]:
    """The nodes of each run, in the order they ran, from the profiler's events."""
    for run in sorted(_named(events, "model_run"), key=lambda event: event["ts"]):
        first, last = run["ts"], run["ts"] + run["dur"]
        nodes = [
            event
            for event in events
            if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX) and first <= event["ts"] <= last
        ]
        yield [
            Node(
                name=event["name"].removesuffix(_SUFFIX),
                operator=event["args"].get("op_name", ""),
                provider=event["args"].get("provider", ""),
                duration=event["dur"],
            )
            for event in sorted(nodes, key=lambda event: event["ts"])
        ]


def times_of_parts(runs: Sequence[Sequence[Node]], parts: Mapping[str, str]) -> tuple[PartTiming, ...]:
    """The median time of each part over ``runs``; ``parts`` says by name which part a node belongs to.

    A node that is not among them (ONNX Runtime put it there) counts to the part of the node that ran before.
    """
    labelled: list[list[tuple[str, Node]]] = []
    for run in runs:
        before, found = OTHER, list[tuple[str, Node]]()
        for node in run:
            before = parts.get(node.name, before)
            found.append((before, node))
        labelled.append(found)
    return tuple(
        PartTiming(name, ms, share, nodes)
        for name, nodes, ms, share in sorted(_medians(labelled), key=lambda row: in_order(row[0]))
    )


def left_to_the_cpu(run: Iterable[Node]) -> dict[str, int]:
    """The operators that the CPU computed in a run, and how many of each, the most frequent first."""
    return dict(Counter(node.operator for node in run if node.provider == _CPU).most_common())


def times_of_providers(runs: Sequence[Sequence[Node]]) -> tuple[Placement, ...]:
    """What each execution provider computed, the busiest first."""
    labelled = [[(node.provider, node) for node in run] for run in runs]
    return tuple(
        Placement(name, nodes, ms, share)
        for name, nodes, ms, share in sorted(_medians(labelled), key=lambda row: -row[2])
    )


def _medians(labelled: Sequence[Iterable[tuple[str, Node]]]) -> list[tuple[str, int, float, float]]:
    """By label: nodes in a run, median milliseconds over runs, and the share of all labels' medians."""
    sums: list[Counter[str]] = []
    for run in labelled:
        total: Counter[str] = Counter()
        for label, node in run:
            total[label] += node.duration
        sums.append(total)
    counts = Counter(label for label, _ in labelled[0])
    medians = {label: float(np.median([total[label] for total in sums])) for label in counts}
    whole = sum(medians.values()) or 1.0
    return [(label, counts[label], ms / 1e3, ms / whole) for label, ms in medians.items()]


def _profile(model: ModelFile, request: TraceRequest, folder: Path) -> tuple[list[Any], onnx.GraphProto]:
    """The profiler's events and the graph that ran."""
    from ..session.backends.onnx_runtime import create_session

    def adjust(options: Any) -> None:
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "events")
        options.optimized_model_filepath = str(folder / "optimised.onnx")

    # Work that CUDA replays from a graph has no nodes.
    wanted = replace(request.wanted, cuda_graphs=False)
    session, _ = create_session(model.content, wanted, request.threads, origin=str(model.path), adjust=adjust)
    feeds = _feeds(model.manifest, request)
    for _ in range(_WARM_UP):
        session.run(None, feeds)
    began, runs = time.perf_counter(), 0
    while not request.budget.spent(runs, began) and runs < _MOST_RUNS:
        session.run(None, feeds)
        runs += 1
    events = msgspec.json.decode(Path(session.end_profiling()).read_bytes())
    return events, onnx.load(folder / "optimised.onnx").graph


def _feeds(manifest: Manifest, request: TraceRequest) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    pairs = [(request.clips, request.words)] * request.batch_size
    # Overrides of gates have neutral values in the graph itself.
    return dict(check_batch(manifest, random_batch(manifest.preprocessing, pairs, rng)))


def _named(events: Iterable[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [event for event in events if event.get("name") == name]


if __name__ == "__main__":
    answer_requests(TraceRequest, lambda request: tell_parent(trace(request)))
