"""Loading, the first run and peak memory, each in a fresh process: this file is also that process.

Memory that was once used is not given back, so batches grow from call to call, and the peak after each is
what a process that loads the model and computes such batches needs.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ..errors import GatescopeError, OutOfMemoryError
from ..session.device import DeviceOptions
from .fresh import answer_requests, in_fresh_process, tell_parent
from .peak_memory import peak_memory
from .results import Start

if TYPE_CHECKING:
    from ..session.session import GateSession

KILLED = "out of memory: the system ended the process that tried it"
_LIBRARY = {"onnx": "onnxruntime", "torchscript": "torch", "pt2": "torch"}


@dataclass(frozen=True)
class StartRequest:
    """What to open, and the sizes of batches to compute, ascending, by ``concurrency`` threads at once."""

    model: str
    format: str
    wanted: DeviceOptions
    clips: int
    words: int
    batch_sizes: tuple[int, ...]
    concurrency: int


@dataclass(frozen=True)
class Tried:
    """One size of batch: how long its first call took, the peak after it, or why it could not be computed."""

    batch_size: int
    seconds: float | None = None
    peak_bytes: int | None = None
    failure: str | None = None


@dataclass(frozen=True)
class _Opened:
    """What :class:`Start` says of the time before the first run."""

    import_seconds: float
    load_seconds: float
    libraries_bytes: int | None
    loaded_bytes: int | None
    method: str


def measure_start(request: StartRequest) -> tuple[Start, dict[int, Tried]]:
    """Loading and the first run, and by size of batch what came of it.

    A size at which the system ended the process is out of memory, and so is every larger one. Raises
    :class:`~gatescope.runtime.errors.GatescopeError` where a fresh process cannot open the model, or fails
    for another reason than memory.
    """
    outcome = in_fresh_process("start", request)
    if not outcome.documents:
        raise GatescopeError(
            f"there is not enough memory to load {request.model}",
            received="the system ended a fresh process that tried it",
            fix="free some memory, or use a larger machine",
        )
    opened = msgspec.json.decode(outcome.documents[0], type=_Opened)
    tried = [msgspec.json.decode(document, type=Tried) for document in outcome.documents[1:]]
    found = {one.batch_size: one for one in tried}
    for size in request.batch_sizes:
        found.setdefault(size, Tried(size, failure=KILLED))
    first = request.batch_sizes[0]
    start = Start(
        import_seconds=opened.import_seconds,
        load_seconds=opened.load_seconds,
        first_run_seconds=found[first].seconds,
        first_run_batch=first,
        libraries_bytes=opened.libraries_bytes,
        loaded_bytes=opened.loaded_bytes,
        method=opened.method,
    )
    return start, found


def _work(request: StartRequest) -> None:
    """The fresh process."""
    began = time.perf_counter()
    import_module(_LIBRARY[request.format])
    from .opening import open_on

    imported = time.perf_counter()
    libraries, method = peak_memory()
    with open_on(request.model, request.wanted) as session:
        loaded = time.perf_counter()
        tell_parent(_Opened(imported - began, loaded - imported, libraries, _above(libraries), method))
        for size in request.batch_sizes:
            tell_parent(_try(session, request, size, libraries))


def _try(session: GateSession, request: StartRequest, size: int, libraries: int | None) -> Tried:
    from .samples import random_batch

    recipe, rng = session.manifest.preprocessing, np.random.default_rng(0)
    try:
        one = random_batch(recipe, [(request.clips, request.words)], rng)
        batch = {name: np.repeat(array, size, axis=0) for name, array in one.items()}
        began = time.perf_counter()
        with ThreadPoolExecutor(request.concurrency) as threads:
            calls = [threads.submit(_run, session, batch) for _ in range(request.concurrency)]
            for call in calls:
                call.result()
        return Tried(size, time.perf_counter() - began, _above(libraries))
    except (OutOfMemoryError, MemoryError):
        return Tried(size, failure="out of memory")


def _run(session: GateSession, batch: dict[str, Any]) -> None:
    session.run(batch)


def _above(before: int | None) -> int | None:
    peak, _ = peak_memory()
    return None if peak is None or before is None else peak - before


if __name__ == "__main__":
    answer_requests(StartRequest, _work)
