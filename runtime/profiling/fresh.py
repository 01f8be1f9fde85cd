"""Runs one measurement in a process of its own, which nothing that ran before can colour."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from ..errors import GatescopeError

AskedOf = TypeVar("AskedOf")

_FIRST_TO_GO = Path("/proc/self/oom_score_adj")
# The exit code of a fresh process whose failure has a name.
_NAMED = 3


@dataclass(frozen=True)
class Outcome:
    """The documents the process printed, one per line; ``killed``: the system ended it, as it does without
    memory."""

    documents: tuple[bytes, ...]
    killed: bool


def in_fresh_process(
    module: str, request: object, *, environment: Mapping[str, str] | None = None
) -> Outcome:
    """Run a module of this package, which does :func:`answer_requests`, on ``request``.

    A :class:`GatescopeError` there is raised here; any other failure becomes one with the last thing it said.
    """
    done = subprocess.run(
        # -P: a numpy.py in the folder the user stands in is not ours to import.
        [sys.executable, "-P", "-m", f"{__package__}.{module}", msgspec.json.encode(request).decode()],
        capture_output=True,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    killed = done.returncode == -getattr(signal, "SIGKILL", 9)
    if done.returncode != 0 and not killed:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        if done.returncode == _NAMED:
            raise GatescopeError(**msgspec.json.decode(said[-1]))
        raise GatescopeError(
            "a measurement in a process of its own failed",
            received=said[-1] if said else f"exit code {done.returncode}",
            fix="run again; if it stays, report it with the model's family and the versions installed",
        )
    return Outcome(tuple(done.stdout.splitlines()), killed)


def answer_requests(kind: type[AskedOf], work: Callable[[AskedOf], None]) -> None:
    """In the fresh process: ``work`` on the request it was started with.

    Where memory runs out, the system is asked to end this process before any other.
    """
    with contextlib.suppress(OSError):
        _FIRST_TO_GO.write_text("1000", encoding="ascii")
    try:
        work(msgspec.json.decode(sys.argv[1], type=kind))
    except GatescopeError as error:
        told = {name: getattr(error, name) for name in ("problem", "received", "expected", "fix")}
        print(f"\n{json.dumps(told)}", file=sys.stderr)
        sys.exit(_NAMED)


def tell_parent(document: object) -> None:
    """In the fresh process: one document for whoever started it, at once, so that a kill loses nothing."""
    sys.stdout.buffer.write(msgspec.json.encode(document) + b"\n")
    sys.stdout.flush()
