"""When memory runs out in the middle of a batch: the batch is halved, until it fits or is one sample."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ..errors import OutOfMemoryError
from ..gates.manifest import Manifest
from .lanes import Arrays, RunChunk, run_chunks

_log = logging.getLogger("gatescope")

# What the libraries say when memory ran out; they have no type for it that they share.
_SIGNS = (
    "out of memory",
    "failed to allocate memory",
    "bad allocation",
    "bad_alloc",
    "can't allocate memory",
    "cannot allocate memory",
    "available memory of",
)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether ``error``, raised by a back end, says that memory ran out."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _SIGNS)


class FittingRuns:
    """Runs of a back end that halve what does not fit, and remember what did.

    Only models whose samples do not depend on their batch are halved; for others a smaller batch gives other
    numbers, and that is the caller's to decide.
    """

    def __init__(self, run: RunChunk, manifest: Manifest) -> None:
        self._run = run
        self._manifest = manifest
        self._most: int | None = None

    def __call__(self, arrays: Arrays) -> Sequence[NDArray[Any]]:
        """The outputs for ``arrays``; raises :class:`OutOfMemoryError` where nothing smaller may be tried."""
        samples = _samples(arrays)
        if self._most is not None and samples > self._most:
            return self._in_halves(arrays, samples)
        try:
            return self._run(arrays)
        except Exception as error:
            if not ran_out_of_memory(error):
                raise
            if samples == 1 or self._manifest.batching != "exact":
                raise self._refused(arrays, samples) from error
            if self._most is None or samples <= self._most:
                self._most = samples // 2
                _log.warning("memory ran out at %d samples at a time: going on with %d", samples, self._most)
        return self._in_halves(arrays, samples)

    def _in_halves(self, arrays: Arrays, samples: int) -> list[NDArray[Any]]:
        middle = samples - samples // 2
        inputs = [tensor for tensor in self._manifest.inputs if tensor.name in arrays]
        halves = [slice(0, middle), slice(middle, samples)]
        return run_chunks(self, arrays, inputs, self._manifest.outputs, halves)

    def _refused(self, arrays: Mapping[str, NDArray[Any]], samples: int) -> OutOfMemoryError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        return OutOfMemoryError(
            f"memory ran out at {'one sample' if samples == 1 else f'{samples} samples at a time'}",
            received=shapes,
            expected="a batch that fits into the device's memory"
            if samples > 1
            else "memory for a single sample: other programs may hold what it needs",
            fix="free the device's memory, run on the CPU (--device cpu), or cut the videos"
            if samples == 1
            else "use a smaller batch; this model reproduces batched numbers, so it is not halved by itself",
        )


def _samples(arrays: Mapping[str, NDArray[Any]]) -> int:
    return max(len(array) for array in arrays.values())
