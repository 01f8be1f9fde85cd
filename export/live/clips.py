"""How many clips of each sample are valid, from the masks that a model, its fusion or a layer was given."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from .gates import FusedStream

_OF_TEXT = ("txt", "text", "word", "query", "lang", "token")


def named_arguments(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by their names; the content of a dict among them as well."""
    try:
        bound = inspect.signature(module.forward).bind_partial(*args, **kwargs).arguments
    except (TypeError, ValueError):  # not what forward takes, which is about to say so itself
        bound = {**{str(place): value for place, value in enumerate(args)}, **kwargs}
    named: dict[str, Any] = {}
    for name, value in bound.items():
        if isinstance(value, Mapping):
            named |= {str(key): item for key, item in cast(Mapping[Any, Any], value).items()}
        elif isinstance(value, (tuple, list)):
            items = cast(Iterable[Any], value)
            named |= {f"{name}{place}": item for place, item in enumerate(items)}
        else:
            named[name] = value
    return named


def valid_clips(calls: Iterable[Mapping[str, Any]], stream: FusedStream) -> tuple[int, ...]:
    """Valid clips of each sample, from the first mask (B, L) among the ``calls``' arguments.

    A mask holds nothing but 0 and 1 (or booleans) and its valid entries come first, so its first column says
    whether 1 stands for valid or for padding. Masks of text are passed over by their names, which are needed
    only where a text is as long as its video. Without a mask every clip counts as valid.
    """
    for arguments in calls:
        for name, value in arguments.items():
            if not isinstance(value, Tensor) or tuple(value.shape) != (stream.samples, stream.clips):
                continue
            if any(word in name.lower() for word in _OF_TEXT):
                continue
            if (clips := _clips(value)) is not None:
                return clips
    return (stream.clips,) * stream.samples


def _clips(tensor: Tensor) -> tuple[int, ...] | None:
    mask = tensor.detach().to("cpu")
    ones = mask == 1
    if not bool((ones | (mask == 0)).all()):
        return None
    valid = ones if bool(ones[:, 0].all()) else ~ones
    counts = valid.sum(1)
    first = torch.arange(valid.shape[1]) < counts[:, None]
    if not bool((valid == first).all()) or not bool(counts.all()):
        return None
    return tuple(int(count) for count in counts)
