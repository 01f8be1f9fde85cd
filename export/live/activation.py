"""Which function bounds a gate, seen while a module runs once: it decides the range a gate can have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

GateRange = tuple[float, float]

BOUNDING: dict[str, GateRange] = {
    "tanh": (-1.0, 1.0),
    "tanh_": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "sigmoid_": (0.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
}
# These bound too, but where depends on their arguments.
_ALSO_BOUND = ("hardtanh", "hardtanh_", "clamp", "clamp_", "clip", "erf", "sin", "atan")


class BoundingFunctions(TorchFunctionMode):
    """While it is entered, notes the outputs of functions that bound what they return. Changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.any = False
        # The tensors are kept, so that their memory cannot become another tensor's meanwhile.
        self._outputs: list[tuple[Tensor, GateRange]] = []

    def range_of(self, tensor: Tensor) -> GateRange | None:
        """The range of ``tensor`` where it is what a bounding function returned, or a view of it."""
        memory = _memory(tensor)
        if memory is None:
            return None
        return next((found for one, found in reversed(self._outputs) if _memory(one) == memory), None)

    def bounds(self, tensor: Tensor) -> bool:
        """Whether a function that bounds what it returns made ``tensor`` since this was entered."""
        return self.range_of(tensor) is not None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls ``func`` as it would be called anyway."""
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if isinstance(output, Tensor) and name in BOUNDING:
            self._outputs.append((output, BOUNDING[name]))
        self.any = self.any or name in BOUNDING or name in _ALSO_BOUND
        return output


def _memory(tensor: Tensor) -> int | None:
    try:
        return tensor.untyped_storage().data_ptr()
    except RuntimeError:  # a stand-in without memory, while a graph is captured
        return None
