"""The process that runs the user's code: it mounts, imports and builds the model, exports it, and ends.

``python -P -m gatescope.export.user.apart.child REQUEST REPLY PARENT``, as :mod:`.process` starts it. What
the code prints goes where standard error goes; standard output carries progress alone.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from torch import nn

from ....runtime.errors import ExportError, GatescopeError, UsageError, WeightsMismatchError
from ...reading.checkpoint import Checkpoint, load_checkpoint
from ..adapting import adapting
from ..export import export_user_model
from ..factory import training_options, with_weights
from .group import end_with
from .messages import CodeRequest, LineKind, error_document, read_request
from .mount import PIP_NAMES
from .stubs import MissingModuleError, MountFinder, PartFinder, StandInFinder

_REPOSITORY = "give the folder of the whole repository: --code DIR"


def answer() -> None:
    """Run one request and leave at once, whatever threads and exit handlers the code has left."""
    request_file, reply_file, parent = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    send = _sender(_own_output())
    request = read_request(request_file)
    threading.Thread(target=end_with, args=(parent, request.temporary), daemon=True).start()
    logging.getLogger("gatescope").addHandler(_Passed(send))
    reply = reply_to(request, send)
    unfinished = reply_file.with_suffix(".partial")
    unfinished.write_text(json.dumps(reply), encoding="utf-8")
    unfinished.replace(reply_file)
    sys.stderr.flush()
    os._exit(0)


Send = Callable[[LineKind, str], None]


def reply_to(request: CodeRequest, send: Send) -> dict[str, Any]:
    """What came of ``request``, as JSON: the result, or the error with its name and its traceback."""
    try:
        return _result(request, send)
    except BaseException as error:  # the code may raise anything, SystemExit too
        trace = "".join(traceback.format_exception(error))
        return {"error": error_document(_named(error, request)), "traceback": trace}


def _result(request: CodeRequest, send: Send) -> dict[str, Any]:
    read = load_checkpoint(request.checkpoint)
    with adapting():
        result = export_user_model(
            build_mounted(request, read, send),
            read,
            f"the model that {request.factory} of {request.label} builds",
            request.branch,
            request.target,
            request.kind,
            request.choices,
            variant=request.variant,
            opset=request.opset,
            verification=request.verification,
            tell=lambda line: send("tell", line),
        )
    left = result.left_behind
    return {"left_behind": None if left is None else str(left)}


def build_mounted(request: CodeRequest, read: Checkpoint, send: Send) -> nn.Module:
    """The model that the code of ``request`` builds, with the weights of ``read``.

    Raises :class:`~gatescope.runtime.errors.ExportError` where the code fails, and
    :class:`~gatescope.runtime.errors.WeightsMismatchError` where the weights are those of another model.
    """
    if not read.options:
        raise ExportError(
            f"{read.path} records no options, and the code in {request.label} is called with them",
            expected="the options of the training run, inside the checkpoint or in opt.json next to it",
            fix="put training's opt.json next to the checkpoint",
        )
    roots = {request.folder, *request.places.values()}
    stand_ins = StandInFinder(request.lacking, roots)
    sys.meta_path[:0] = [MountFinder(request.places), PartFinder(stand_ins)]
    sys.meta_path.append(stand_ins)
    send("tell", f"importing {request.module} of {request.label}")
    with _running(request, f"importing {request.module}"):
        factory: Any = importlib.import_module(request.module)
        for part in request.factory.split("."):
            factory = getattr(factory, part)
    stand_ins.forget()
    if not callable(factory):
        raise UsageError(
            f"{request.module}:{request.factory} is not a function", received=type(factory).__name__
        )
    send("tell", f"building the model with {request.factory}")
    with _running(request, f"building the model with {request.module}:{request.factory}"):
        built = factory(training_options(read))
    stand_ins.forget()
    send("doing", "loading the weights")
    spec = f"{request.module}:{request.factory}"
    try:
        return with_weights(built, spec, read)
    except WeightsMismatchError as error:
        raise WeightsMismatchError(
            f"the weights of {read.path.name} do not fit the model that {spec} of {request.label} builds",
            received=error.received,
            expected=error.expected,
            fix="this is the code of another model: give that of this training, --code code.zip or DIR",
        ) from error


@contextmanager
def _running(request: CodeRequest, doing: str) -> Generator[None]:
    """The code runs inside: whatever it raises becomes an error that names its line."""
    try:
        yield
    except Exception as error:
        where = code_line(error, request)
        raise ExportError(
            f"the code in {request.label} failed while {doing}",
            received=f"{type(error).__name__}: {_first_line(error)}" + (f"\n    {where}" if where else ""),
            expected="code that runs as it did in training",
            fix=_remedy(error, where or ""),
        ) from error


def _named(error: BaseException, request: CodeRequest) -> GatescopeError:
    """``error`` as one with a name: what is missing before what came of it."""
    chain = list(_chain(error))
    missing = next((one for one in chain if isinstance(one, MissingModuleError)), None)
    if missing is not None:
        return _module_missing(missing, request)
    if isinstance(error, GatescopeError):
        return error
    left = next((one for one in chain if isinstance(one, SystemExit)), None)
    where = code_line(error, request)
    if left is not None or where is not None:
        ended = (
            f"sys.exit({left.code!r})"
            if left is not None
            else f"{type(error).__name__}: {_first_line(error)}"
        )
        return ExportError(
            f"the code in {request.label} ended its process",
            received=ended + (f"\n    {where}" if where else ""),
            expected="a function that returns the model",
            fix="name another function: --model package.module:factory",
        )
    return ExportError(
        "gatescope failed in the process that runs the code",
        received=f"{type(error).__name__}: {_first_line(error)}",
        fix="this is a fault in gatescope; run again with --debug and report the traceback",
    )


def _module_missing(missing: MissingModuleError, request: CodeRequest) -> ExportError:
    where = code_line(missing, request)
    top = missing.name.partition(".")[0]
    own = top in request.places
    return ExportError(
        f"the code in {request.label} needs the module {missing.name}, which is not "
        + ("in it" if own else "installed"),
        received=str(missing) + (f"\n    {where}" if where else ""),
        fix=_REPOSITORY
        if own
        else f"pip install {PIP_NAMES.get(top, top)}; or, if it is a module of your own, {_REPOSITORY}",
    )


def code_line(error: BaseException, request: CodeRequest) -> str | None:
    """The deepest line of the code that ``error`` came from, with its file as the code calls it."""
    found: str | None = None
    for one in _chain(error):
        for frame in traceback.extract_tb(one.__traceback__):
            path = Path(frame.filename)
            if path.is_relative_to(request.folder):
                found = f"{path.relative_to(request.folder)}:{frame.lineno}: {frame.line}"
    return found


def _chain(error: BaseException) -> Generator[BaseException]:
    """``error`` and what it came from, the outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:300]


def _remedy(error: Exception, line: str) -> str:
    text = str(error)
    if isinstance(error, AttributeError) and "'Namespace' object" in text:
        return "this training's options lack what the code asks for: it is the code of another version"
    if isinstance(error, FileNotFoundError):
        return f"a file the code reads is not where it looks; {_REPOSITORY}"
    if ".cuda(" in line or "CUDA" in text or "NVIDIA" in text:
        return "let that line follow its input: replace .cuda() or a fixed device by .to(x.device)"
    if isinstance(error, ImportError | AttributeError) and ("torch" in text or "numpy" in text):
        return "that line is for another release of that library: change it, or install the one training used"
    return "change that line, or run again with --debug for the whole traceback"


def _own_output() -> TextIO:
    """Standard output for progress alone: from now on what the code prints goes to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(kept, "w", encoding="utf-8")


def _sender(output: TextIO) -> Send:
    def send(kind: LineKind, text: str) -> None:
        output.write(json.dumps([kind, text]) + "\n")
        output.flush()

    return send


class _Passed(logging.Handler):
    """Warnings of gatescope go to the process that called."""

    def __init__(self, send: Send) -> None:
        super().__init__(logging.WARNING)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send("warning", record.getMessage())


if __name__ == "__main__":
    answer()
