"""What is changed around a user's code while its model is built, run and captured, and only then.

- Tensors stay on the CPU: ``.cuda()``, ``.to("cuda")`` and ``device="cuda"`` give what they would give there.
- A copied ``multi_head_attention_forward`` asks ``has_torch_function`` whether somebody watches; under
  torch.export somebody does, and the copy then passes on only some of its arguments. In modules of the user's
  code the answer is no.

Nothing of the code is edited, everything is as it was afterwards, and what was met on the way is said in the
manifest (``forward.adapted``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, has_torch_function

_PACKAGE = __name__.split(".")[0]
_OURS = {_PACKAGE, "torch"}
_ASKED = "has_torch_function"


class Adapting(TorchFunctionMode):
    """Keeps what the user's code makes on the CPU, while it is entered, and remembers where it had to."""

    def __init__(self) -> None:
        super().__init__()
        self._met: dict[str, None] = {}
        self._asking: dict[ModuleType, Any] = {}

    @property
    def met(self) -> tuple[str, ...]:
        """What was adapted so far, each once, with the module and the line."""
        return tuple(self._met)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls ``func`` on the CPU where it would leave it."""
        named = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "cuda" and args and isinstance(args[0], Tensor):
            self._note(".cuda() left its tensor on the CPU")
            return args[0]
        if name == "to" and len(args) > 1 and _elsewhere(args[1]):
            self._note(f".to({str(args[1])!r}) left its tensor on the CPU")
            args = (args[0], torch.device("cpu"), *args[2:])
        if _elsewhere(named.get("device")):
            self._note(f"device={str(named['device'])!r} was the CPU")
            named["device"] = torch.device("cpu")
        return func(*args, **named)

    def answer_no(self) -> None:
        """Let ``has_torch_function`` answer no in all modules of the user's code that hold it."""
        for module in list(sys.modules.values()):
            if module.__name__.split(".")[0] in _OURS or vars(module).get(_ASKED) is not has_torch_function:
                continue
            self._asking[module] = has_torch_function
            setattr(module, _ASKED, self._no(module.__name__))

    def restore(self) -> None:
        """Put back what :meth:`answer_no` changed."""
        for module, function in self._asking.items():
            setattr(module, _ASKED, function)
        self._asking.clear()

    def _no(self, module: str) -> Callable[..., bool]:
        def no(*_: Any) -> bool:
            self._met[f"{_ASKED} answered False in {module}"] = None
            return False

        return no

    def _note(self, what: str) -> None:
        self._met[f"{what} ({_where()})"] = None


_current: list[Adapting] = []


@contextmanager
def adapting() -> Generator[Adapting]:
    """While it is entered, a user's model can be built, run and captured on a machine without a GPU.

    Inside of another one it is the same one, which then also takes in the modules imported meanwhile.
    """
    if _current:
        _current[0].answer_no()
        yield _current[0]
        return
    adapted = Adapting()
    _current.append(adapted)
    try:
        adapted.answer_no()
        with adapted:
            yield adapted
    finally:
        _current.clear()
        adapted.restore()


def _elsewhere(device: Any) -> bool:
    """Whether ``device`` is one that tensors would leave the CPU for."""
    if isinstance(device, bool) or not isinstance(device, (str, int, torch.device)):
        return False
    try:
        return torch.device(device).type not in ("cpu", "meta")
    except RuntimeError:  # a number without an accelerator, or no device at all
        return isinstance(device, int)


def _where() -> str:
    """The line of the user's code that called, by its module: paths do not belong into a file."""
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.split(".")[0] not in _OURS:
            return f"{name}, line {frame.f_lineno}"
        frame = frame.f_back
    return "a line that is not known"
