"""Sizes read off a checkpoint's parameters; an option that says otherwise becomes a warning."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ...runtime.errors import WeightsMismatchError
from ...runtime.gates.vocabulary import TEF_CHANNELS
from .checkpoint import Checkpoint
from .options import WEIGHTS, TrainingOptions

# A file that lacks parameters is a part of a model, or the whole of another one.
COMPLETE_OR_OWN_CODE = (
    "give a complete checkpoint; if it is complete, another branch of the training code made it: let that "
    "code build the model, --model package.module:factory"
)


class WeightShapes:
    """The shapes of one checkpoint's parameters."""

    def __init__(self, checkpoint: Checkpoint, options: TrainingOptions) -> None:
        self.path = checkpoint.path
        self._weights: Mapping[str, Tensor] = checkpoint.weights
        self._options = options

    def shape(self, parameter: str, axes: int) -> tuple[int, ...]:
        """The shape of a parameter a size is read from."""
        tensor = self._weights.get(parameter)
        if tensor is None or tensor.ndim != axes:
            what = "is missing" if tensor is None else f"has shape {tuple(tensor.shape)}"
            raise WeightsMismatchError(
                f"{self.path}: parameter {parameter} {what}, so the model's size cannot be read",
                expected=f"a tensor with {axes} axes",
                fix=COMPLETE_OR_OWN_CODE,
            )
        return tuple(tensor.shape)

    def count(self, prefix: str) -> int:
        """How many numbered modules there are under ``prefix``."""
        found = self._numbers(prefix)
        if found != list(range(len(found))) or not found:
            raise WeightsMismatchError(
                f"{self.path}: layers are missing under {prefix}",
                received=f"layers {', '.join(map(str, found[:20])) or 'none'}",
                expected="every layer from 0 up",
                fix=COMPLETE_OR_OWN_CODE,
            )
        return len(found)

    def size(self, name: str, value: int, *keys: str) -> int:
        """Record a size the weights show; warn where an option under ``keys`` says otherwise."""
        self._options.record(name, value, WEIGHTS)
        for key in keys:
            said = self._options.get(key)
            if said is not None and said != value:
                self._options.warnings.append(
                    f"{self._options.source} says {key} = {said}, the weights have {value}: "
                    "the weights are used"
                )
        return value

    def _numbers(self, prefix: str) -> list[int]:
        parts = {name[len(prefix) :].split(".")[0] for name in self._weights if name.startswith(prefix)}
        return sorted(int(part) for part in parts if part.isdecimal())

    def has(self, parameter: str) -> bool:
        """Whether there is such a parameter."""
        return parameter in self._weights

    def highest(self, prefix: str) -> int:
        """The highest number of a module under ``prefix``; 0 where there is none."""
        return max(self._numbers(prefix), default=0)

    def width(self, name: str, width: int, key: str) -> int:
        """Input channels, TEF included; training adds TEF's two after opt.json is written: both are right."""
        return self.size(name, width, *(() if self._options.get(key) == width - TEF_CHANNELS else (key,)))
