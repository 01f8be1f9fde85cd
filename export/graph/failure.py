"""Where in whose code a model failed: the user's line and module, not PyTorch's; and ours is not theirs."""

from __future__ import annotations

import linecache
import traceback
from pathlib import Path

import torch
from torch import nn

from ...runtime.errors import ExportError
from ...runtime.torch_range import tested_releases

_PACKAGE = __name__.split(".")[0]
# What PyTorch says of an axis that the code made a number.
_FIXED = ("static shape", "specialized", "generated guard")
_LIBRARIES = Path(torch.__file__).parent.parent


def failed_in(model: nn.Module, doing: str, error: BaseException) -> ExportError:
    """The error for ``model`` having raised ``error`` while ``doing``; names module, line and remedy.

    Where no part of the model is a user's code, none of it is blamed: then the fault is ours.
    """
    text = _said(str(error))
    if is_ours(model):
        return ExportError(
            f"gatescope's own model failed while {doing}; your checkpoint and code have no part in it",
            received=f"{type(error).__name__}: {text} (torch {torch.__version__})",
            expected=f"an export that works with {tested_releases()}",
            fix="try another --format, --optimize none, or another release of torch, and report this with "
            "what --debug shows: it is a fault of gatescope",
        )
    where, line = _user_code(model, error)
    received = f"{type(error).__name__}: {text}" + (f"\n    {where}: {line}" if where else "")
    return ExportError(
        f"the model failed while {doing}",
        received=received,
        expected="a forward pass that takes the six inputs as keywords and can be captured as a graph",
        fix=_remedy(line, str(error)),
    )


def _said(message: str) -> str:
    """The first line of a message, and what it says of the first two axes that were fixed."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    axes = [line for line in lines[1:] if any(word in line for word in _FIXED)]
    return "\n    ".join([*lines[:1], *axes[:2]])


def is_ours(model: nn.Module) -> bool:
    """Whether every module's class is gatescope's or PyTorch's."""
    return {type(module).__module__.split(".")[0] for module in model.modules()} <= {_PACKAGE, "torch"}


def _user_code(model: nn.Module, error: BaseException) -> tuple[str | None, str]:
    """The deepest line outside of installed libraries, and the module of ``model`` whose forward it is in."""
    names = {id(module): name or "the model itself" for name, module in model.named_modules()}
    best: tuple[str | None, str] = (None, "")
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        module: str | None = None
        for frame, number in traceback.walk_tb(current.__traceback__):
            owner = frame.f_locals.get("self")
            module = names.get(id(owner), module)
            path = Path(frame.f_code.co_filename)
            ours = str(frame.f_globals.get("__name__", "")).split(".")[0] == _PACKAGE
            if module is None or ours or _LIBRARIES in path.parents:
                continue
            line = linecache.getline(str(path), number).strip()
            best = f"{path}:{number}, in {module}", line
        current = current.__cause__ or current.__context__
    return best


def _remedy(line: str, message: str) -> str:
    if ".cuda(" in line or "device=" in line or "not compiled with CUDA" in message or "NVIDIA" in message:
        return "let that line follow its input: replace .cuda() or a fixed device by .to(x.device)"
    if "data-dependent" in message or "Dynamic" in message or "control flow" in message:
        return "that line's course depends on a tensor's values: compute both ways, choose by torch.where"
    if "Constraints violated" in message or any(word in message for word in _FIXED):
        return (
            "that code fixes an axis that must stay free (batch, clips or words): keep lengths as they come, "
            "x.shape[0] and not len(x) or int(x.shape[0]), and ask nothing of them in an if or an assert"
        )
    return "change that line, or run again with --debug for PyTorch's own report"
