"""What tracking costs, and what eager PyTorch costs: an exported file in turns with another way."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from .. import plugins
from ..errors import GatescopeError
from ..gates.manifest import Manifest
from ..session.device import DeviceOptions
from ..session.model_file import read_model_file
from ..session.session import GateSession
from .lengths import Lengths, alike, draw_batches
from .opening import open_on
from .pairs import ratio
from .plain import why_no_plain, write_plain
from .results import Comparison, Unavailable
from .timing import Budget

EAGER_MODEL = "eager-model"

# Far above rounding on any device, far below another model's outputs.
_SAME = 1e-2

RunBatch = Callable[[Mapping[str, Any]], Any]


def cost_of_tracking(
    session: GateSession, wanted: DeviceOptions, lengths: Lengths, sizes: Sequence[int], budget: Budget
) -> tuple[Comparison, ...] | Unavailable:
    """How much longer the file of ``session`` takes than its plain sibling, by size of batch."""
    if reason := why_no_plain(session.manifest):
        return Unavailable(reason)
    with tempfile.TemporaryDirectory(prefix="gatescope-") as folder:
        path = Path(folder) / "plain.onnx"
        write_plain(read_model_file(session.path), path)
        with open_on(path, wanted) as plain:
            return _compare(plain.run, session.run, session.manifest, lengths, sizes, budget)


def cost_of_eager(
    session: GateSession, checkpoint: Path, lengths: Lengths, sizes: Sequence[int], budget: Budget
) -> tuple[Comparison, ...]:
    """How much longer PyTorch with hooks takes than the file of ``session``, by size of batch.

    Needs the room with PyTorch, and raises what building the model there raises;
    :class:`~gatescope.runtime.errors.GatescopeError` where the two compute different things.
    """
    opened: AbstractContextManager[RunBatch] = plugins.load(plugins.PLUGINS, EAGER_MODEL)(
        checkpoint, session.manifest, device=session.device, threads=session.threads
    )
    with opened as eager:
        _check_same(session, eager, lengths)
        return _compare(session.run, eager, session.manifest, lengths, sizes, budget)


def _compare(
    first: RunBatch,
    second: RunBatch,
    manifest: Manifest,
    lengths: Lengths,
    sizes: Sequence[int],
    budget: Budget,
) -> tuple[Comparison, ...]:
    """How much longer ``second`` takes than ``first``."""
    found: list[Comparison] = []
    for size in sizes:
        batches = draw_batches(manifest, lengths, size)
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
    return tuple(found)


def _check_same(session: GateSession, eager: RunBatch, lengths: Lengths) -> None:
    """Comparing the speed of two different models would say nothing."""
    (batch,) = draw_batches(session.manifest, alike(*lengths.longest), 1)
    ours, theirs = session.run(batch).raw, eager(batch)
    certificate = session.manifest.certificate  # a file in half precision was allowed to differ more
    tolerance = max(_SAME, certificate.atol if certificate else 0.0)
    for name in sorted(ours.keys() & theirs.keys()):
        error = float(np.abs(ours[name] - theirs[name]).max())
        allowed = tolerance * max(1.0, float(np.abs(theirs[name]).max()))
        if not error <= allowed:  # NaN is no agreement
            raise GatescopeError(
                "PyTorch computes something else from this checkpoint than the file does",
                received=f"a difference of {error:.3g} in {name}",
                expected=f"at most {allowed:.3g}",
                fix="put the opt.json that was next to the checkpoint at its export back there, or leave "
                "--checkpoint out",
            )
