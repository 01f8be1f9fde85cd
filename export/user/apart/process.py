"""Exporting with the code that trained: it runs in a process of its own, which ends with all that it started.

This keeps the code's output, its exits and its endless loops away from the command. It is not a sandbox: the
code may read, write and send whatever the user may.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ....runtime.brief import counted
from ....runtime.errors import ExportError, GatescopeError
from ....runtime.files import local, new_file
from ....runtime.gates.vocabulary import FileFormat
from ....runtime.session.model_file import read_model_file
from ...families.choices import Choices
from ...graph.onnx_graph import OPSET
from ...graph.target import choose_target
from ...graph.variant import Variant
from ...proof.certified import ExportResult
from ...proof.verify import VerifyRequest
from .code import code_name, opened_code
from .group import Told, run_in_group
from .messages import CodeRequest, error_from, write_request

# How long the code's process may take in all, capture and comparisons included.
CODE_SECONDS = 600
_SHOWN_LINES, _SHOWN_WIDTH = 5, 200
_MOST_SHOWN_BYTES = 1 << 20


def export_with_code(
    checkpoint: str | Path,
    code: str | Path,
    output: str | Path | None = None,
    choices: Choices | None = None,
    *,
    factory: str | None = None,
    seconds: int = CODE_SECONDS,
    variant: Variant | None = None,
    file_format: FileFormat | None = None,
    opset: int = OPSET,
    verification: VerifyRequest | None = None,
    tell: Callable[[str], None] = lambda _: None,
    printed: Callable[[str], None] = lambda _: None,
) -> ExportResult:
    """Export the model that the code of the training run builds, with the checkpoint's weights.

    **This runs that code**, in a process of its own without GPUs, for at most ``seconds``; not in a sandbox.

    - ``code``: the ``code.zip`` that training wrote, or a folder with the code. ``factory``: the function
      there that builds the model, as ``package.module:function``; found by parsing by default.
    - ``printed`` is called with what the code printed. It is part of the error where the code fails.

    The rest as :func:`~gatescope.export.export_checkpoint`; of ``choices`` only the gating and how features
    are put together apply. Raises :class:`~gatescope.runtime.errors.UsageError` where nothing in the code, or
    more than one function, builds a model, :class:`~gatescope.runtime.errors.WeightsMismatchError` where it
    builds another one, and :class:`~gatescope.runtime.errors.ExportError` where it fails or takes too long.
    """
    source, place = local(checkpoint), local(code)
    target, kind = choose_target(source, output, file_format, opset)
    with opened_code(place, factory) as trained:
        if trained.left_out:
            tell(f"left out of {trained.label}: {', '.join(trained.left_out)}")
        tell(f"running {trained.label} in a process of its own, not in a sandbox: it may do all you may")
        request = CodeRequest(
            places={name: trained.folder / one for name, one in trained.mounts.places.items()},
            lacking=trained.mounts.lacking,
            folder=trained.folder,
            temporary=trained.temporary,
            label=trained.label,
            module=trained.factory.module,
            factory=trained.factory.name,
            branch=code_name(trained),
            checkpoint=source,
            target=target,
            kind=kind,
            choices=choices or Choices(),
            variant=variant or Variant(),
            opset=opset,
            verification=verification,
        )
        left = _run(request, target, seconds, tell, printed)
    return ExportResult(target, read_model_file(target).manifest, target.stat().st_size, left)


def _nothing(_: str) -> None:
    pass


@dataclass(frozen=True)
class CodeChoice:
    """What :func:`export_with_code` is to run, as a command or a report passes it on."""

    place: Path
    factory: str | None = None
    seconds: int = CODE_SECONDS
    printed: Callable[[str], None] = _nothing

    @property
    def export(self) -> Callable[..., ExportResult]:
        """:func:`export_with_code` with this code; it takes the rest."""
        how = {"factory": self.factory, "seconds": self.seconds, "printed": self.printed}
        return partial(export_with_code, code=self.place, **how)

    def branch(self) -> str:
        """What the manifest of its exports calls the code; it is parsed and not run."""
        with opened_code(self.place, self.factory) as trained:
            return code_name(trained)


def _run(
    request: CodeRequest,
    target: Path,
    seconds: int,
    tell: Callable[[str], None],
    printed: Callable[[str], None],
) -> Path | None:
    """Let the code's process make ``target``; returns the predictions it found next to the checkpoint.

    Raises what it replied, or what became of it.
    """
    folder = request.temporary
    asked, replied, output = (folder / name for name in ("request.json", "reply.json", "output.txt"))
    # Where a process that is stopped leaves nothing behind.
    made = folder / f"model{target.suffix}"
    write_request(replace(request, target=made), asked)
    progress = Told(tell)
    with output.open("wb") as written:
        ended = run_in_group(_command(asked, replied), written, _works_in(request), seconds, progress)
    text = _shown(output, request)
    if text:
        printed(text)
    if not replied.exists():
        raise _without_reply(request, ended, seconds, progress.doing, text)
    reply: dict[str, Any] = json.loads(replied.read_text(encoding="utf-8"))
    if "error" in reply:
        raise _with_output(
            error_from(_named_paths(reply["error"], request)), text, _told_place(reply["traceback"], request)
        )
    with new_file(target) as unfinished:
        shutil.copyfile(made, unfinished)
    return None if reply["left_behind"] is None else Path(reply["left_behind"])


def _command(asked: Path, replied: Path) -> list[str]:
    return [sys.executable, "-P", "-m", f"{__package__}.child", str(asked), str(replied), str(os.getpid())]


def _works_in(request: CodeRequest) -> Path:
    """The folder that the code expects to run in: the one its package lies in, as when it trained."""
    place = request.places.get(request.module.partition(".")[0], request.folder)
    return place.parent if place.parent.is_dir() else request.folder


def _without_reply(
    request: CodeRequest, ended: int | None, seconds: int, doing: str, text: str
) -> GatescopeError:
    if ended is None:
        error = ExportError(
            f"the code in {request.label} was stopped after {counted(seconds, 'second')}",
            received=f"it was still {doing}",
            fix="--code-seconds N gives it longer",
        )
    else:
        killed = ended == -signal.SIGKILL
        how = f"signal {-ended} ({signal.strsignal(-ended)})" if ended < 0 else f"exit status {ended}"
        error = ExportError(
            f"the code in {request.label} ended its process while {doing}",
            received=how + (": the system does this where memory runs out" if killed else ""),
            expected="a function that returns the model",
            fix="free some memory, or use a machine with more"
            if killed
            else "run that code by itself to see why",
        )
    return _with_output(error, text, "")


def _with_output(error: GatescopeError, text: str, trace: str) -> GatescopeError:
    """``error`` with the end of what the code printed, and with all of it where a traceback is shown."""
    lines = [line[:_SHOWN_WIDTH] for line in text.splitlines() if line.strip()][-_SHOWN_LINES:]
    if lines:
        tail = "the code printed, last:\n      " + "\n      ".join(lines)
        received = f"{error.received}\n    {tail}" if error.received else tail
        GatescopeError.__init__(
            error, error.problem, received=received, expected=error.expected, fix=error.fix
        )
    for note in (trace, f"the code printed:\n{text}" if text else ""):
        if note:
            error.add_note(note)
    return error


def _shown(output: Path, request: CodeRequest) -> str:
    """The end of what the code printed, without what a terminal would act on."""
    with output.open("rb") as stream:
        stream.seek(max(0, output.stat().st_size - _MOST_SHOWN_BYTES))
        text = stream.read().decode("utf-8", "replace")
    return re.sub(r"[^\n\t -~\u00a0-\uffff]", "", _told_place(text, request))


def _told_place(text: str, request: CodeRequest) -> str:
    """``text`` with the folder that the archive was unpacked in as the archive's name."""
    return text.replace(f"{request.folder}{os.sep}", f"{request.label}{os.sep}")


def _named_paths(document: dict[str, Any], request: CodeRequest) -> dict[str, Any]:
    parts = {
        name: _told_place(value, request) if isinstance(value, str) else value
        for name, value in document["parts"].items()
    }
    return {**document, "parts": parts}
