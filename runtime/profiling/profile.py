"""Profiles an exported model: one measurement after another, none while another runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ..errors import GatescopeError, OutOfMemoryError
from ..gates.manifest import Manifest
from ..session.device import DeviceOptions
from ..session.memory import ran_out_of_memory
from ..session.model_file import file_sha256
from ..session.session import GateSession
from .comparisons import cost_of_eager, cost_of_tracking
from .lengths import Lengths
from .machine import describe_machine
from .opening import open_on
from .request import ProfileRequest, check_request
from .results import Inputs, Profile, ProfiledModel, ProfileRow, Recommendation, Start, Trace, Unavailable
from .start import StartRequest, measure_start
from .sweep import recommend, sweep
from .trace import TraceRequest, measure_trace

_ONLY_ONNX = "only for ONNX files"

Tell = Callable[[str], None]
Found = TypeVar("Found")


def profile_model(request: ProfileRequest, *, tell: Tell = lambda _: None) -> Profile:
    """Measure the speed, the memory and the cost of tracking of the model that ``request`` names.

    ``tell`` is called with a line for each step. Only temporary files are written. Raises what
    :func:`~gatescope.runtime.profiling.request.check_request` and opening a session raise, and
    :class:`~gatescope.runtime.errors.GatescopeError` where no batch can be computed, the model fails for
    another reason than memory, or PyTorch computes something else.
    """
    manifest, lengths = check_request(request)
    with open_on(request.model, request.wanted) as session:
        machine = describe_machine(session, beside=("torch",) if request.checkpoint else ())
        starts, rows = list[Start](), list[ProfileRow]()
        for one in lengths:
            start, found = _measure(request, session, one, tell)
            starts.append(start)
            rows += found
        recommended = recommend(rows)
        if not recommended:
            raise GatescopeError(
                "no batch could be computed",
                received="; ".join(f"batch {row.batch_size}: {row.failure}" for row in rows),
                fix="give smaller sizes with --batch-size, or shorter samples with --clips",
            )
        # The longest lengths are the hardest; where several were asked for, the rest is measured there.
        best = max(recommended, key=lambda one: (one.clips, one.words))
        at = next(one for one in lengths if (one.clips, one.words) == (best.clips, best.words))
        sizes = _sizes(rows, best)
        tell("where the time goes")
        trace = _unless_short(lambda: _trace(request, session, best))
        tell("what tracking costs")
        wanted, budget = _found(request, session), request.budget
        tracking = _unless_short(lambda: cost_of_tracking(session, wanted, at, sizes, budget))
        eager, checkpoint = None, request.checkpoint
        if checkpoint is not None:
            tell("against eager PyTorch")
            eager = _unless_short(lambda: cost_of_eager(session, checkpoint, at, sizes, budget))
    return Profile(
        subject=_subject(request.model, manifest),
        machine=machine,
        inputs=Inputs(tuple(one.told for one in lengths), lengths[0].rule, request.concurrency),
        start=starts[lengths.index(at)],
        rows=tuple(rows),
        recommended=recommended,
        trace=trace,
        tracking=tracking,
        eager=eager,
    )


def _measure(
    request: ProfileRequest, session: GateSession, lengths: Lengths, tell: Tell
) -> tuple[Start, list[ProfileRow]]:
    tell("loading, and memory, in a fresh process")
    clips, words = lengths.longest
    start, tried = measure_start(
        StartRequest(
            model=str(request.model.absolute()),
            format=session.manifest.format,
            wanted=_found(request, session),
            clips=clips,
            words=words,
            batch_sizes=tuple(sorted(set(request.batch_sizes))),
            concurrency=request.concurrency,
        )
    )
    rows = sweep(session, lengths, tried, request.budget, concurrency=request.concurrency, tell=tell)
    return start, rows


def _sizes(rows: Sequence[ProfileRow], best: Recommendation) -> tuple[int, ...]:
    """The smallest batch and the recommended one: what an answer takes at least, and what is best."""
    measured = [
        row.batch_size
        for row in rows
        if row.failure is None and (row.clips, row.words) == (best.clips, best.words)
    ]
    return tuple(dict.fromkeys((min(measured), best.batch_size)))


def _trace(request: ProfileRequest, session: GateSession, best: Recommendation) -> Trace | Unavailable:
    if session.manifest.format != "onnx":
        return Unavailable(_ONLY_ONNX)
    samples, threads = _whole_runs(session, best.batch_size)
    return measure_trace(
        TraceRequest(
            model=str(request.model.absolute()),
            wanted=_found(request, session),
            threads=threads,
            clips=best.clips,
            words=best.words,
            batch_size=samples,
            budget=request.budget,
        )
    )


def _whole_runs(session: GateSession, batch_size: int) -> tuple[int, int]:
    """How many samples of a batch ``session`` takes through the graph at once, and on how many threads."""
    if parts := session.chunks(batch_size):
        return max(part.stop - part.start for part in parts), 1
    return batch_size, session.threads


def _found(request: ProfileRequest, session: GateSession) -> DeviceOptions:
    """What was wanted, with the device and the threads that ``session`` found for it."""
    graphs = request.wanted.cuda_graphs and session.device == "cuda"
    return replace(request.wanted, device=session.device, threads=session.threads, cuda_graphs=graphs)


def _unless_short(measure: Callable[[], Found]) -> Found | Unavailable:
    """What ``measure`` gives; where memory runs out, that: the rest of the profile is not lost."""
    try:
        return measure()
    except Exception as error:  # PyTorch's own too
        if isinstance(error, OutOfMemoryError) or ran_out_of_memory(error):
            return Unavailable("out of memory")
        raise


def _subject(path: Path, manifest: Manifest) -> ProfiledModel:
    return ProfiledModel(
        path=str(path),
        sha256=file_sha256(path),
        bytes=path.stat().st_size,
        format=manifest.format,
        family=manifest.family,
        gating=manifest.gating,
        outputs=manifest.outputs_kind,
        precision=manifest.precision,
        batching=manifest.batching,
        checkpoint_sha256=manifest.checkpoint_sha256,
    )
