"""Hooks that read the gates of a fusion while its model runs, and change nothing of what it computes.

They are on the model only while gates are read. One forward pass of the model gives one set of gates: where a
fusion runs twice in it (a second time for shifted text), the first pass through each layer counts.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from ...runtime.errors import UnsupportedModelError
from ...runtime.tracking.tracker import GateTrackingWarning
from .activation import BoundingFunctions
from .clips import named_arguments
from .find import GatedFusion, GateLayer
from .forward_pass import ForwardPass, FusionGates, LayerTrace, gates_of_pass
from .gates import FusedStream, as_gate, find_gates, memory_in, needs_order, shapes_in, stream_of
from .order import time_first

_Hook = TypeVar("_Hook", bound=Callable[..., None])


def _not_compiled(hook: _Hook) -> _Hook:
    """``hook``, into which torch.compile does not look: it would lose what the hook remembers."""
    return cast(_Hook, torch.compiler.disable(hook))  # pyright: ignore[reportCallIssue, reportArgumentType]


class Listener(Protocol):
    """Who wants the gates."""

    def begin_pass(self, samples: int) -> Any:
        """A pass over ``samples`` samples has reached the fusion; what it returns comes back at the end."""
        ...

    def end_pass(self, token: Any, found: FusionGates) -> None:
        """The pass is over, and these were its gates."""
        ...


class FusionHooks:
    """Reads the gates of ``fusion`` in ``model`` and hands them to ``listener``, pass by pass."""

    def __init__(self, model: nn.Module, fusion: GatedFusion, listener: Listener) -> None:
        self._model = model
        self._fusion = fusion
        self._listener = listener
        self._handles: list[Any] = []
        self._probed = False
        self._warned = False
        self._time_first: bool | None = None
        self._local = threading.local()

    def attach(self) -> None:
        """Put the hooks on, where they are not; what bounds the gates is looked for in the next pass."""
        self._probed = False
        if self._handles:
            return
        self._local.current = None
        openers = dict.fromkeys(("", self._fusion.name))
        for name in openers:
            module = self._model.get_submodule(name)
            self._before(module, partial(self._open, name))
        for place, layer in enumerate(self._fusion.layers):
            self._before(self._model.get_submodule(layer.name), partial(self._enter_layer, place))
            owners = [self._model.get_submodule(name) for name in layer.owners]
            self._before(owners[0], partial(self._watch, place))
            for depth, owner in enumerate(owners):
                self._after(owner, partial(self._returned, place, depth))
            if layer.inline:
                for number, name in enumerate(layer.branches):
                    self._after(self._model.get_submodule(name), partial(self._branch, place, number))
            self._after(owners[0], partial(self._unwatch, place), always=True)
        for name in openers:
            module = self._model.get_submodule(name)
            self._after(module, partial(self._end, name))
            self._after(module, partial(self._close, name), always=True)

    def detach(self) -> None:
        """Take the hooks off; the model is then as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _before(self, module: nn.Module, hook: Any) -> None:
        self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def _after(self, module: nn.Module, hook: Any, *, always: bool = False) -> None:
        self._handles.append(module.register_forward_hook(hook, with_kwargs=True, always_call=always))

    @property
    def _current(self) -> ForwardPass | None:
        return None if _in_backward() else getattr(self._local, "current", None)

    @_not_compiled
    def _open(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if _in_backward():
            return
        current = self._current
        if current is None:
            traces = [LayerTrace() for _ in self._fusion.layers]
            samples = _samples(named_arguments(module, args, kwargs)) if name != self._fusion.name else None
            current = ForwardPass(name, traces, args, kwargs, samples)
            self._local.current, self._local.depth = current, 0
        elif name == current.opener:
            self._local.depth += 1
        if not any(trace.gates for trace in current.layers):
            current.calls.append(named_arguments(module, args, kwargs))

    @_not_compiled
    def _enter_layer(
        self, place: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        current = self._current
        if current is None or current.layers[place].stream is not None:
            return
        arguments = named_arguments(module, args, kwargs)
        stream = current.layers[place].stream = stream_of(arguments, current.samples)
        current.layers[place].known = memory_in((args, kwargs))
        if stream is not None and stream.samples != stream.clips:
            self._time_first = stream.time_first
        if stream is not None and not current.begun:
            current.begun = True
            current.calls.append(arguments)
            current.token = self._listener.begin_pass(stream.samples)

    @_not_compiled
    def _watch(self, place: int, *_: Any) -> None:
        current = self._current
        wanted = not self._probed or self._fusion.layers[place].inline
        if current is not None and wanted and current.layers[place].probe is None:
            probe = current.layers[place].probe = BoundingFunctions()
            self._local.watching = probe
            probe.__enter__()

    @_not_compiled
    def _unwatch(self, place: int, *_: Any) -> None:
        watching = getattr(self._local, "watching", None)
        if (
            watching is not None
            and self._current is not None
            and watching is self._current.layers[place].probe
        ):
            watching.__exit__(None, None, None)
            self._local.watching = None

    @_not_compiled
    def _returned(
        self, place: int, depth: int, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any
    ) -> None:
        current = self._current
        if current is None:
            self._warn_outside()
            return
        trace = current.layers[place]
        if depth in trace.returned:
            return
        layer = self._fusion.layers[place]
        trace.returned[depth] = shapes_in(output)
        stream = trace.stream or stream_of(named_arguments(module, args, kwargs))
        if stream is None:
            return
        trace.stream = stream
        found = self._find(layer, trace, output)
        if found is not None and needs_order(found, stream, self._widths):
            order = self._order(current, stream)
            trace.stream = replace(stream, time_first=order)
            found = self._find(layer, trace, output)
        if found is not None:
            self._keep(trace, depth, found)

    def _find(self, layer: GateLayer, trace: LayerTrace, output: Any) -> tuple[Tensor, Tensor] | None:
        assert trace.stream is not None
        bounded = None if trace.probe is None else trace.probe.bounds
        return find_gates(
            output, trace.stream, self._widths, inline=layer.inline, known=trace.known, bounded=bounded
        )

    def _order(self, current: ForwardPass, stream: FusedStream) -> bool:
        """Whether the stream has its clips first, where a batch of as many samples as clips does not show."""
        if self._time_first is None and current.opener != self._fusion.name:
            layer = self._model.get_submodule(self._fusion.layers[0].name)
            module = self._model.get_submodule(current.opener)
            samples, depth = current.samples or stream.samples, self._local.depth
            self._local.current = None
            try:
                self._time_first = time_first(module, layer, current.args, current.kwargs, samples)
            finally:
                self._local.current, self._local.depth = current, depth
        if self._time_first is None:
            raise UnsupportedModelError(
                "this batch does not show which axis of the gates is the batch axis",
                received="as many samples as clips",
                expected="a batch of another size first: its gates then show the order of the axes",
                fix="run one batch with another number of samples than of clips, then this one",
            )
        return self._time_first

    @_not_compiled
    def _branch(
        self, place: int, number: int, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any
    ) -> None:
        """A gate without a module of its own can be read where its branch bounds it itself."""
        current = self._current
        if current is None or not isinstance(output, Tensor):
            return
        trace = current.layers[place]
        key = -1 - number
        if key in trace.gates or trace.stream is None:
            return
        if as_gate(output, trace.stream, self._widths) is not None:
            self._keep(trace, key, (output,))

    def _keep(self, trace: LayerTrace, key: int, tensors: tuple[Tensor, ...]) -> None:
        probe = trace.probe
        trace.ranges[key] = tuple(probe.range_of(one) if probe else None for one in tensors)
        # Copies: the layer may go on to change a gate in place.
        trace.gates[key] = tuple(one.detach().clone() for one in tensors)

    @property
    def _widths(self) -> set[int]:
        return set(self._fusion.channels)

    @_not_compiled
    def _end(self, name: str, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        current = self._current
        if current is None or current.opener != name or self._local.depth > 0:
            return
        if not any(trace.returned or trace.gates for trace in current.layers):
            return  # this pass did not come to the fusion
        found = gates_of_pass(current, self._fusion)
        token = current.token if current.begun else self._listener.begin_pass(found.stream.samples)
        self._listener.end_pass(token, found)
        self._probed = True

    @_not_compiled
    def _close(self, name: str, *_: Any) -> None:
        current = self._current
        if current is None or current.opener != name:
            return
        if self._local.depth > 0:
            self._local.depth -= 1
        else:
            self._local.current = None

    def _warn_outside(self) -> None:
        if not self._warned and not _in_backward():
            self._warned = True
            warnings.warn(
                f"gates were computed outside of a call of the model or of its '{self._fusion.name}', and "
                "were not tracked: call model(…)",
                GateTrackingWarning,
                stacklevel=3,
            )

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._local = threading.local()


def _in_backward() -> bool:
    """Whether gradients are being computed: what then runs forward is computed a second time, as checkpointed
    activations are, and is no pass of its own."""
    return torch._C._current_graph_task_id() != -1  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]


def _samples(arguments: Mapping[str, Any]) -> int | None:
    """B, where all tensors among a model's arguments agree on it."""
    found = {len(one) for one in arguments.values() if isinstance(one, Tensor) and one.ndim > 1}
    return found.pop() if len(found) == 1 else None
