"""The options of commands that may run the code of the training: ``--code`` and ``--code-seconds``."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ...runtime.cli.options import file_path, positive
from ...runtime.errors import UsageError

if TYPE_CHECKING:
    from ..reading.results import ResultsFolder
    from ..user.apart.process import CodeChoice

# What --code says without a value: the code that training left in the folder.
FOUND = True


class CodeGroup:
    """Whether the model is built by the code that trained it, and for how long that may run."""

    @staticmethod
    def add(parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--code",
            nargs="?",
            type=file_path,
            const=FOUND,
            metavar="code.zip|DIR",
            help="build the model with the code that trained it: the code.zip in RESULTS, or this one, or a "
            "folder. Runs that code, in a process of its own; not a sandbox. With --model the function in it "
            "that builds the model",
        )
        parser.add_argument(
            "--code-seconds",
            type=positive,
            metavar="N",
            help="how long --code may run in all (default 600)",
        )

    @staticmethod
    def read(args: Namespace) -> None:
        """Set right ``--code RESULTS``, which argparse takes for the code's place."""
        if args.code is None:
            if args.code_seconds is not None:
                raise UsageError("--code-seconds without --code", fix="give --code too, or leave it out")
            return
        from ..reading.results import checkpoints_in

        if args.code is FOUND or args.results or args.checkpoint is not None:
            return
        if args.code.is_dir() and checkpoints_in(args.code):
            args.results, args.code = args.code, FOUND

    @staticmethod
    def build(args: Namespace, results: ResultsFolder | None) -> CodeChoice | None:
        """The code to run; None without ``--code``.

        Raises :class:`~gatescope.runtime.errors.UsageError` where it is to be found and is not there.
        """
        if args.code is None:
            return None
        from ..reading.code import find_code
        from ..user.apart.process import CODE_SECONDS, CodeChoice

        place = args.code
        if place is FOUND:
            folder = args.checkpoint.parent if results is None else results.folder
            place = find_code(folder) if results is None else results.code
            if place is None:
                raise UsageError(
                    f"{folder} holds no code",
                    expected="the code.zip that training wrote",
                    fix="say where the code is: --code code.zip or --code DIR, the folder of the repository",
                )
        choice = CodeChoice(place, args.model, args.code_seconds or CODE_SECONDS)
        return replace(choice, printed=partial(print, file=sys.stderr)) if args.debug else choice
