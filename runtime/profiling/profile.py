"""Profiles an exported model: one measurement after another, none while another runs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import plugins
from ..device import DeviceOptions
from ..errors import GatescopeError, OutOfMemoryError
from ..lanes import chunks
from ..manifest import Manifest
from ..memory import ran_out_of_memory
from ..model_file import file_sha256, read_model_file
from ..session import GateSession
from .lengths import Lengths, alike, draw
from .machine import describe_machine
from .opening import open_on
from .pairs import ratio
from .plain import why_no_plain, write_plain
from .request import Request, check_request
from .results import Comparison, Inputs, Profile, Recommendation, Row, Start, Subject, Trace, Unavailable
from .start import StartRequest, measure_start
from .sweep import recommend, sweep
from .timing import Budget
from .trace import TraceRequest, measure_trace

EAGER_MODEL = "eager-model"

_ONLY_ONNX = "only for ONNX files"
# Far above rounding on any device, far below another model's outputs.
_SAME = 1e-2

Tell = Callable[[str], None]
Run = Callable[[Mapping[str, Any]], Any]


def profile_model(request: Request, *, tell: Tell = lambda _: None) -> Profile:
    """Measure the speed, the memory and the cost of tracking of the model that ``request`` names.

    ``tell`` is called with a line for each step. Only temporary files are written. Raises what
    :func:`~gatescope.runtime.profiling.request.check_request` and opening a session raise, and
    :class:`~gatescope.runtime.errors.GatescopeError` where no batch can be computed, the model fails for
    another reason than memory, or PyTorch computes something else.
    """
    manifest, lengths = check_request(request)
    with open_on(request.model, request.wanted) as session:
        machine = describe_machine(session, beside=("torch",) if request.checkpoint else ())
        starts, rows = list[Start](), list[Row]()
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
        trace = _trace(request, session, best, tell)
        tracking = _tracking(request, session, at, sizes, tell)
        eager = _eager(request, session, at, sizes, tell)
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


def _measure(request: Request, session: GateSession, lengths: Lengths, tell: Tell) -> tuple[Start, list[Row]]:
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


def _sizes(rows: Sequence[Row], best: Recommendation) -> tuple[int, ...]:
    """The smallest batch and the recommended one: what an answer takes at least, and what is best."""
    measured = [
        row.batch_size
        for row in rows
        if row.failure is None and (row.clips, row.words) == (best.clips, best.words)
    ]
    return tuple(dict.fromkeys((min(measured), best.batch_size)))


def _trace(request: Request, session: GateSession, best: Recommendation, tell: Tell) -> Trace | Unavailable:
    if session.manifest.format != "onnx":
        return Unavailable(_ONLY_ONNX)
    tell("where the time goes")
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
    exact = session.manifest.batching == "exact"
    if session.device == "cpu" and session.threads > 1 and batch_size > 1 and exact:
        return max(part.stop - part.start for part in chunks(batch_size, session.threads)), 1
    return batch_size, session.threads


def _found(request: Request, session: GateSession) -> DeviceOptions:
    """What was wanted, with the device and the threads that ``session`` found for it."""
    graphs = request.wanted.cuda_graphs and session.device == "cuda"
    return replace(request.wanted, device=session.device, threads=session.threads, cuda_graphs=graphs)


def _tracking(
    request: Request, session: GateSession, lengths: Lengths, sizes: Sequence[int], tell: Tell
) -> tuple[Comparison, ...] | Unavailable:
    if reason := why_no_plain(session.manifest):
        return Unavailable(reason)
    tell("what tracking costs")
    with tempfile.TemporaryDirectory(prefix="gatescope-") as folder:
        path = Path(folder) / "plain.onnx"
        write_plain(read_model_file(request.model), path)
        with open_on(path, _found(request, session)) as plain:
            return _compare(plain.run, session.run, session.manifest, lengths, sizes, request.budget)


def _eager(
    request: Request, session: GateSession, lengths: Lengths, sizes: Sequence[int], tell: Tell
) -> tuple[Comparison, ...] | Unavailable | None:
    if request.checkpoint is None:
        return None
    tell("against eager PyTorch")
    opened: AbstractContextManager[Run] = plugins.load(plugins.PLUGINS, EAGER_MODEL)(
        request.checkpoint, session.manifest, device=session.device, threads=session.threads
    )
    with opened as eager:
        _check_same(session, eager, lengths)
        return _compare(session.run, eager, session.manifest, lengths, sizes, request.budget)


def _compare(
    first: Run, second: Run, manifest: Manifest, lengths: Lengths, sizes: Sequence[int], budget: Budget
) -> tuple[Comparison, ...] | Unavailable:
    """How much longer ``second`` takes than ``first``, at each size of batch."""
    found: list[Comparison] = []
    try:
        for size in sizes:
            batches = draw(manifest, lengths, size)
            found.append(
                Comparison(
                    size,
                    ratio(
                        lambda number, batches=batches: first(batches[number % len(batches)]),
                        lambda number, batches=batches: second(batches[number % len(batches)]),
                        budget,
                    ),
                )
            )
    except Exception as error:  # PyTorch's own too
        if isinstance(error, OutOfMemoryError) or ran_out_of_memory(error):
            return Unavailable("out of memory")
        raise
    return tuple(found)


def _check_same(session: GateSession, eager: Run, lengths: Lengths) -> None:
    """Comparing the speed of two different models would say nothing."""
    (batch,) = draw(session.manifest, alike(*lengths.longest), 1)
    ours, theirs = session.run(batch).raw, eager(batch)
    certificate = session.manifest.certificate  # a file in half precision was allowed to differ more
    tolerance = max(_SAME, certificate.atol if certificate else 0.0)
    for name in sorted(ours.keys() & theirs.keys()):
        error = float(np.abs(ours[name] - theirs[name]).max())
        allowed = tolerance * max(1.0, float(np.abs(theirs[name]).max()))
        if ours[name].shape != theirs[name].shape or not error <= allowed:
            raise GatescopeError(
                "PyTorch computes something else from this checkpoint than the file does",
                received=f"a difference of {error:.3g} in {name}",
                expected=f"at most {allowed:.3g}",
                fix="put the opt.json that was beside the checkpoint at its export back there, or leave "
                "--checkpoint out",
            )


def _subject(path: Path, manifest: Manifest) -> Subject:
    return Subject(
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
