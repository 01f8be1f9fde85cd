"""Gates as tensors: found in what a module returned, and brought to (B, L | 1, 1 | d)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

# Parts of a key or a field's name that say which gate it is; without them the first two count, in order.
_WORDS = {"attention": ("att", "mha", "cross"), "ffn": ("ffn", "ff", "mlp", "feed")}
_DEEPEST = 3


@dataclass(frozen=True)
class Stream:
    """The size of the fused stream: B samples, L clips, d channels."""

    samples: int
    clips: int
    channels: int


def stream_of(arguments: Mapping[str, Any]) -> Stream | None:
    """The stream a layer works on: its first argument (B, L, d) of floating point numbers."""
    for value in arguments.values():
        if isinstance(value, Tensor) and value.ndim == 3 and value.is_floating_point():
            return Stream(*value.shape)
    return None


def find_gates(
    output: Any, stream: Stream, widths: Collection[int], *, inline: bool
) -> tuple[Tensor, Tensor] | None:
    """The attention and the FFN gate in what a module returned, in the shapes it returned them.

    ``widths``: how many channels a gate may have. What a layer (``inline``) returns first is the
    stream itself. None where there are not two tensors with the shape of a gate; a third one (what FiLM
    adds) is no gate.
    """
    tensors = list(_tensors(output))
    if inline and tensors and tuple(tensors[0][1].shape) == (stream.samples, stream.clips, stream.channels):
        tensors = tensors[1:]
    shaped = [(name, one) for name, one in tensors if as_gate(one, stream, widths) is not None]
    if len(shaped) < 2:
        return None
    named = {
        kind: next((one for name, one in shaped if any(word in name for word in words)), None)
        for kind, words in _WORDS.items()
    }
    attention, ffn = named["attention"], named["ffn"]
    if attention is not None and ffn is not None and attention is not ffn:
        return attention, ffn
    return shaped[0][1], shaped[1][1]


def as_gate(tensor: Tensor, stream: Stream, widths: Collection[int]) -> Tensor | None:
    """``tensor`` as (B, L | 1, 1 | d), a view; None where it has not the shape of a gate."""
    if not tensor.is_floating_point() or tensor.ndim == 0 or tensor.shape[0] != stream.samples:
        return None
    if tensor.ndim == 1:
        return tensor[:, None, None]
    if tensor.ndim == 2 and tensor.shape[1] in widths:
        return tensor[:, None, :]
    if tensor.ndim == 2 and tensor.shape[1] == stream.clips:
        return tensor[:, :, None]
    if tensor.ndim == 3 and tensor.shape[1] in (1, stream.clips) and tensor.shape[2] in widths:
        return tensor
    return None


def shapes_in(output: Any) -> str:
    """What a module returned, for messages."""
    shapes = [str(tuple(tensor.shape)) for _, tensor in _tensors(output)]
    return f"{type(output).__name__} with {', '.join(shapes) or 'no tensor'}"


def _tensors(output: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    if isinstance(output, Tensor):
        yield name, output
    elif depth < _DEEPEST and isinstance(output, Mapping):
        for key, value in cast(Mapping[Any, Any], output).items():
            yield from _tensors(value, str(key).lower(), depth + 1)
    elif depth < _DEEPEST and isinstance(output, (tuple, list)):
        items = cast(Sequence[Any], output)
        fields: Sequence[str] = getattr(output, "_fields", ("",) * len(items))
        for field, value in zip(fields, items, strict=True):
            yield from _tensors(value, field.lower(), depth + 1)
