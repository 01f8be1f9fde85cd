"""Runs one measurement in a process of its own, which nothing that ran before can colour."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ..errors import GatescopeError


@dataclass(frozen=True)
class Outcome:
    """The documents the process printed, one a line; ``killed``: the system ended it, as it does without
    memory."""

    documents: tuple[bytes, ...]
    killed: bool


def in_fresh_process(
    module: str, request: object, *, environment: Mapping[str, str] | None = None
) -> Outcome:
    """Run the ``main`` of a module of this package on ``request``, which it reads with :func:`request_of`.

    Raises :class:`GatescopeError` with the last thing it said where it fails.
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
        raise GatescopeError(
            "a measurement in a process of its own failed",
            received=said[-1] if said else f"exit code {done.returncode}",
            fix="run again; if it stays, report it with the model's family and the versions installed",
        )
    return Outcome(tuple(done.stdout.splitlines()), killed)


def request_of(kind: type[Any]) -> Any:
    """In the fresh process: the request it was started with."""
    return msgspec.json.decode(sys.argv[1], type=kind)


def tell_parent(document: object) -> None:
    """In the fresh process: one document for whoever started it, at once, so that a kill loses nothing."""
    sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    sys.stdout.flush()
