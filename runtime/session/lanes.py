"""A batch over several cores: each core takes a few samples through the whole graph by itself.

Cores that share every operator wait for each other some hundred times a batch, and a large batch passes
through memory once an operator. A few samples on one core meet neither: they stay in its cache. So where a
sample's numbers do not depend on its batch, a batch is cut into chunks, and every chunk runs on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gates.shape import Tensor

Arrays = dict[str, NDArray[Any]]
RunChunk = Callable[[Arrays], Sequence[NDArray[Any]]]

# Samples a core takes at a time. Measured on 2 cores at 75 clips: 4 to 16 are equally fast, 2 are 8 % slower,
# 1 is 20 % slower; fewer samples keep the memory small.
CHUNK = 8


def chunks(samples: int, lanes: int) -> list[slice]:
    """``samples`` in nearly equal chunks of at most :data:`CHUNK`, as many as the lanes share evenly."""
    rounds = -(-samples // (lanes * CHUNK))
    count = min(samples, rounds * lanes)
    ends = [samples * (i + 1) // count for i in range(count)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def run_chunks(
    run: RunChunk,
    arrays: Mapping[str, NDArray[Any]],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    parts: Sequence[slice],
    pool: Executor | None = None,
) -> list[NDArray[Any]]:
    """The ``outputs`` of a batch whose ``parts`` run by themselves: on the threads of ``pool``, or in turn.

    Axes that no output has (words) are cut to a part's own longest sample. Raises what ``run`` raises.
    """
    given = {axis for tensor in outputs for axis in tensor.axes}
    masks = [
        tensor
        for tensor in inputs
        if tensor.name.endswith("_mask") and tensor.name in arrays and tensor.axes[1] not in given
    ]

    def one(part: slice) -> Sequence[NDArray[Any]]:
        longest = {tensor.axes[1]: int(arrays[tensor.name][part].sum(axis=1).max()) for tensor in masks}
        return run(
            {
                tensor.name: _cut(arrays[tensor.name], [part, *map(longest.get, tensor.axes[1:])])
                for tensor in inputs
            }
        )

    results = list(map(one, parts) if pool is None else pool.map(one, parts))
    return [np.concatenate(pieces) for pieces in zip(*results, strict=True)]


def _cut(array: NDArray[Any], limits: Sequence[slice | int | None]) -> NDArray[Any]:
    """``array`` up to ``limits``; axes of length 1 stay: an override's broadcast."""
    index = [
        slice(None) if length == 1 else limit if isinstance(limit, slice) else slice(limit)
        for length, limit in zip(array.shape, limits, strict=True)
    ]
    return np.ascontiguousarray(array[tuple(index)])
