"""One forward pass of a model, watched: what modules returned, and where a bounded value multiplies another.

A gate is a value that a tanh, a sigmoid or the like bounds, and that multiplies a value nothing bounds. Both
are seen while the model runs; names, classes and signatures say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..live.activation import BOUNDING
from ..live.clips import named_arguments
from ..live.gates import FusedStream, memory_in, memory_of, stream_of

Path = tuple[Any, ...]

_DEEPEST = 4
_PRODUCTS = {"mul", "rmul", "imul", "multiply"}
# What keeps a bounded value bounded, if all it reads is bounded or one number.
_KEEPING = {
    *("add", "radd", "iadd", "sub", "rsub", "isub", "neg", "mean", "avg_pool1d", "clamp", "clip", "clone"),
    *("contiguous", "float", "to", "type_as", "reshape", "flatten", "repeat", "cat", "stack", "expand"),
    *("minimum", "maximum", "div", "truediv", "pow", "dropout", "gather", "index_select"),
}


@dataclass(frozen=True)
class Product:
    """``gate`` times ``branch``, as often as it happens in a pass: ``gate`` is bounded, ``branch`` is not."""

    gate: Tensor
    branch: Tensor


@dataclass
class Call:
    """The first call of a module.

    - ``returned``: the tensors in what it returned, by their path in it, each with the last name on the path.
    - ``given``: where the tensors among its arguments lie.
    - ``stream``: the first of them that may be a stream (B, L, d).
    - ``made``: where the bounded values lie that were made while it ran.
    """

    given: set[int]
    stream: FusedStream | None
    returned: dict[Path, tuple[str, Tensor]] = field(default_factory=dict[Path, tuple[str, Tensor]])
    made: set[int] = field(default_factory=set[int])
    what: str = ""
    began: int = 0

    @property
    def in_words(self) -> str:
        """What the module returned, for messages."""
        shapes = ", ".join(str(tuple(tensor.shape)) for _, tensor in self.returned.values())
        return f"a {self.what} with {shapes or 'no tensor'}"


@dataclass
class Sight:
    """What one pass of a model showed: the first call of each module by its name, and all products."""

    calls: dict[str, Call] = field(default_factory=dict[str, Call])
    products: list[Product] = field(default_factory=list[Product])
    returned: Any = None

    def owner_of(self, tensor: Tensor) -> tuple[str, Path] | None:
        """The last module that returned ``tensor`` (as it is, or another view of all of it), and where."""
        memory = memory_of(tensor)
        for name, call in reversed(self.calls.items()):
            for path, (_, one) in call.returned.items():
                if memory is not None and memory_of(one) == memory and one.numel() == tensor.numel():
                    return name, path
        return None


def look(model: nn.Module, batch: Mapping[str, Tensor]) -> Sight:
    """Run ``model`` on ``batch`` once, without gradients; raises what the model raises."""
    sight, watch = Sight(), _Watch()
    finished: dict[str, Call] = {}
    handles: list[Any] = []

    def before(name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        if name not in sight.calls:
            stream = stream_of(named_arguments(module, args, kwargs))
            sight.calls[name] = Call(memory_in((args, kwargs)), stream, began=len(watch.bounded))
            watch.keep((args, kwargs))

    def after(name: str, _module: nn.Module, _args: Any, output: Any) -> None:
        if name in finished:
            return
        call = finished[name] = sight.calls[name]
        call.what = type(output).__name__
        # A list may grow after it was returned.
        call.returned = {path: (one, tensor) for path, one, tensor in _flat(output)}
        call.made = set(list(watch.bounded)[call.began :])
        watch.keep(output)

    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(partial(before, name), with_kwargs=True))
        handles.append(module.register_forward_hook(partial(after, name)))
    try:
        with torch.no_grad(), watch:
            sight.returned = model(**batch)
    finally:
        for handle in handles:
            handle.remove()
    sight.calls = finished  # in the order in which they returned
    sight.products = watch.products
    return sight


class _Watch(TorchFunctionMode):
    """Notes bounded values, by where they lie, and their products. Changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bounded: dict[int, int | None] = {}
        self.products: list[Product] = []
        # Tensors are kept, so that their memory cannot become another tensor's meanwhile.
        self._kept: list[Any] = []

    def keep(self, values: Any) -> None:
        """Keep all tensors in ``values`` alive."""
        self._kept += [tensor for _, _, tensor in _flat(values)]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls ``func`` as it would be called anyway."""
        output = func(*args, **(kwargs or {}))
        if not isinstance(output, Tensor) or (memory := memory_of(output)) is None:
            return output
        self._kept.append(output)
        name = getattr(func, "__name__", "").strip("_")
        read = [tensor for _, _, tensor in _flat((args, dict(kwargs or {})))]
        if name in BOUNDING and name != "softmax":
            self.bounded.setdefault(memory, memory_of(read[0]) if read else None)
        elif name in _PRODUCTS or name in _KEEPING:
            wide = [one for one in read if not _is_number(one)]
            bounded = [one for one in wide if memory_of(one) in self.bounded]
            if bounded and len(bounded) == len(wide):
                self.bounded.setdefault(memory, None)
            elif name in _PRODUCTS and len(wide) == 2 and len(bounded) == 1:
                self._product(bounded[0], wide[0] if bounded[0] is wide[1] else wide[1])
        return output

    def _product(self, gate: Tensor, branch: Tensor) -> None:
        # x * sigmoid(x) is an activation, not a gate.
        if self.bounded[memory_of(gate) or 0] != memory_of(branch):
            self.products.append(Product(gate, branch))


class Driving(TorchFunctionMode):
    """Gives functions that bound what they return far arguments, one after the other, while a module runs."""

    def __init__(self, far: Sequence[float]) -> None:
        super().__init__()
        self._far = cycle(far)

    def around(self, module: nn.Module) -> list[Any]:
        """Enter while ``module`` runs; what comes back are handles of the hooks that do it."""

        def enter(*_: Any) -> None:
            self.__enter__()

        def leave(*_: Any) -> None:
            self.__exit__(None, None, None)

        return [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave, always_call=True),
        ]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls ``func``, on other numbers where it bounds."""
        if args and isinstance(args[0], Tensor) and getattr(func, "__name__", "") in BOUNDING:
            args = (torch.full_like(args[0], next(self._far)), *args[1:])
        return func(*args, **(kwargs or {}))


def _is_number(tensor: Tensor) -> bool:
    return tensor.numel() == 1 and (tensor.ndim == 0 or isinstance(tensor, nn.Parameter))


def _flat(values: Any, path: Path = (), name: str = "") -> Iterator[tuple[Path, str, Tensor]]:
    """The tensors in tuples, lists and dicts, with their paths and the last name on each."""
    if isinstance(values, Tensor):
        yield path, name, values
    elif len(path) < _DEEPEST and isinstance(values, Mapping):
        for key, value in cast(Mapping[Any, Any], values).items():
            yield from _flat(value, (*path, key), str(key).lower())
    elif len(path) < _DEEPEST and isinstance(values, (tuple, list)):
        items = cast(Sequence[Any], values)
        fields: Sequence[str] = getattr(values, "_fields", ("",) * len(items))
        for place, (one, value) in enumerate(zip(fields, items, strict=True)):
            yield from _flat(value, (*path, place), one.lower() or name)
