"""What a subcommand is: a summary, an example, its options and what it does."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One subcommand of ``gatescope``.

    Its module must import nothing heavy at the top: ``gatescope --help`` loads every command for its summary.

    - ``summary``: one line, shown by ``gatescope --help``.
    - ``example``: a command line that works, shown by ``gatescope NAME --help``.
    - ``configure``: adds the options to an ``ArgumentParser``.
    - ``run``: does the work; returns the exit code (0 success, 1 a failure that was reported).
    """

    summary: str
    example: str
    configure: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
