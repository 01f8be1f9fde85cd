"""Gates as tensors: found in what a module returned, and brought to (B, L | 1, 1 | d)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

# Parts of a key or a field's name that say which gate it is; without them the first two count, in order.
_WORDS = {"attention": ("att", "mha", "cross"), "ffn": ("ffn", "ff", "mlp", "feed")}
_DEEPEST = 4


@dataclass(frozen=True)
class FusedStream:
    """The size of the fused stream: B samples, L clips, d channels; ``time_first`` where it is (L, B, d)."""

    samples: int
    clips: int
    channels: int
    time_first: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """As the layer has it."""
        first, second = (self.clips, self.samples) if self.time_first else (self.samples, self.clips)
        return first, second, self.channels


def stream_of(arguments: Mapping[str, Any], samples: int | None = None) -> FusedStream | None:
    """The stream a layer works on: its first argument (B, L, d) of floating point numbers.

    ``samples`` is B where the model's own inputs show it: a stream that has it second is (L, B, d).
    """
    for value in arguments.values():
        if isinstance(value, Tensor) and value.ndim == 3 and value.is_floating_point():
            first, second, channels = value.shape
            if first != samples == second:
                return FusedStream(second, first, channels, time_first=True)
            return FusedStream(first, second, channels)
    return None


def find_gates(
    output: Any,
    stream: FusedStream,
    widths: Collection[int],
    *,
    inline: bool,
    known: Collection[int] = (),
    bounded: Callable[[Tensor], bool] | None = None,
) -> tuple[Tensor, Tensor] | None:
    """The attention and the FFN gate in what a module returned, in the shapes it returned them.

    ``widths``: how many channels a gate may have. What a layer (``inline``) returns first is the
    stream itself. None where there are not two tensors with the shape of a gate; a third one (what FiLM
    adds) is not a gate.

    ``known``: the memory of what the module was given; what lies there are other layers' gates at best. What
    a layer returns may be anything that was computed in it: ``bounded`` says whether a function that bounds
    its output made a tensor in this very call, and of a layer only those are taken, or two that are all.
    """
    tensors = list(_tensors(output))
    if inline and tensors and tuple(tensors[0][1].shape) == stream.shape:
        tensors = tensors[1:]
    shaped = [
        (name, one)
        for name, one in tensors
        if as_gate(one, stream, widths) is not None and memory_of(one) not in known
    ]
    if inline and bounded is not None and len(shaped) > 2:
        shaped = [(name, one) for name, one in shaped if bounded(one)]
    return attention_and_ffn(shaped)


def attention_and_ffn(shaped: Sequence[tuple[str, Tensor]]) -> tuple[Tensor, Tensor] | None:
    """Of tensors with the shape of a gate, those that their names call so; without names the first two."""
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


def as_gate(tensor: Tensor, stream: FusedStream, widths: Collection[int]) -> Tensor | None:
    """``tensor`` as (B, L | 1, 1 | d), a view; None where it does not have the shape of a gate."""
    if not tensor.is_floating_point() or tensor.ndim == 0:
        return None
    if stream.time_first and tensor.ndim == 3:
        tensor = tensor.transpose(0, 1)
    if stream.time_first and tensor.ndim == 2 and tuple(tensor.shape) == (stream.clips, stream.samples):
        pooled = stream.clips == stream.samples and tensor.shape[1] in widths
        tensor = tensor if pooled else tensor.transpose(0, 1)
        return tensor[:, None, :] if pooled else tensor[:, :, None]
    if tensor.shape[0] != stream.samples:
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


def needs_order(tensors: Collection[Tensor], stream: FusedStream, widths: Collection[int]) -> bool:
    """Whether one of these gates can be read in two ways, as there are as many samples as clips."""
    if stream.samples != stream.clips or stream.samples == 1:
        return False
    return any(
        (one.ndim == 3 and one.shape[0] == one.shape[1] == stream.samples)
        or (one.ndim == 2 and one.shape[1] == stream.clips and one.shape[1] not in widths)
        for one in tensors
    )


def memory_of(tensor: Tensor) -> int | None:
    """Where a tensor's numbers lie; None for one without any, as while a graph is captured."""
    try:
        return tensor.untyped_storage().data_ptr() or None
    except (RuntimeError, NotImplementedError):
        return None


def memory_in(values: Any) -> set[int]:
    """Where all tensors in arguments lie, however deep in tuples, lists and dicts."""
    return {place for _, one in _tensors(values) if (place := memory_of(one)) is not None}


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
