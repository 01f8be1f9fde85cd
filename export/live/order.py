"""Which axis of a fused stream is the batch, found by running a model with a sample less."""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from .clips import named_arguments
from .gates import stream_of


class _Reached(BaseException):
    """The layer was reached, with a stream of these lengths. No Exception, which the model might catch."""

    def __init__(self, lengths: tuple[int, int] | None) -> None:
        super().__init__()
        self.lengths = lengths


def time_first(
    model: nn.Module, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], samples: int
) -> bool | None:
    """Whether ``layer`` gets its stream as (L, B, d), by the axis that is shorter with a sample less.

    ``model`` runs as far as ``layer`` on the call's arguments without their last sample, random numbers
    and gradients apart. None where that does not show it: B is 1, the model fails, or its
    batch norms are learning and would learn from it.
    """
    learning = any(isinstance(part, _BatchNorm) and part.training for part in model.modules())
    if samples < 2 or learning:
        return None

    def fewer(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[:-1] if value.ndim and len(value) == samples else value
        if isinstance(value, dict):
            return {key: fewer(item) for key, item in cast(dict[Any, Any], value).items()}
        if type(value) in (list, tuple):
            return type(value)(fewer(item) for item in cast(list[Any], value))
        return value

    def reached(module: nn.Module, args: Any, kwargs: Any) -> None:
        stream = stream_of(named_arguments(module, args, kwargs))
        raise _Reached(None if stream is None else (stream.samples, stream.clips))

    if isinstance(model, nn.parallel.DistributedDataParallel):
        model = model.module  # whose own forward would wait for the other processes
    handle = layer.register_forward_pre_hook(reached, with_kwargs=True, prepend=True)
    try:
        with torch.no_grad(), _without_trace(model):
            model.forward(*fewer(args), **fewer(kwargs))
    except _Reached as found:
        shorter = (samples - 1, samples)
        if found.lengths == shorter:
            return False
        return True if found.lengths == shorter[::-1] else None
    except Exception:  # the user's code may raise anything, and said nothing
        return None
    finally:
        handle.remove()
    return None


@contextmanager
def _without_trace(model: nn.Module) -> Generator[None]:
    """Within it, random numbers are drawn that nobody misses, and autocast remembers no weights.

    Weights that autocast casts while no gradients are recorded would have none when they are used again.
    """
    used = {one.device for one in model.parameters() if one.device.type == "cuda"}
    python, numpy = random.getstate(), np.random.get_state()
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        with torch.random.fork_rng(devices=used):
            yield
    finally:
        torch.set_autocast_cache_enabled(cached)
        random.setstate(python)
        np.random.set_state(numpy)
