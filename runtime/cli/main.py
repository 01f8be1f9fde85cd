"""The entry of the ``gatescope`` command line.

Exit codes: 0 success, 1 a failure with a name, 2 bad usage, 130 interrupted. A traceback is shown only
with ``--debug``.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import sys
from collections.abc import Sequence
from importlib.metadata import version

from .. import plugins
from ..errors import GatescopeError
from ..extras import missing_extra
from .command import Command

DESCRIPTION = "Open the gates of trained audio-visual models: export, run, analyse, watch."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; ``argv`` defaults to the process's arguments. Returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except GatescopeError as error:
        if debug:
            raise
        return _complain(f"error: {error}", error.exit_code)
    except BrokenPipeError:
        # The reader of our output (head, less) went away: not a failure, but nothing more can be printed.
        with contextlib.suppress(OSError):
            sys.stdout.close()
        return 0
    except Exception as error:
        if debug:
            raise
        return _complain(f"error: {_explain(error)}", 1)


def _dispatch(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="gatescope",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("-h", "--help", action="store_true", help="print this help and exit")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    head = arguments[:1]
    options = parser.parse_args([] if head == ["--debug"] else head)
    if options.version:
        print(f"gatescope {version('gatescope')}")
        return 0
    if options.help or options.command is None:
        parser.epilog = _command_list()
        parser.print_help(sys.stdout if options.help else sys.stderr)
        return 0 if options.help else 2
    if options.command not in plugins.names(plugins.COMMANDS):
        parser.error(
            f"unknown command '{options.command}'; there are: {', '.join(plugins.names(plugins.COMMANDS))}"
        )
    return run_command(options.command, arguments[1:])


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Run the subcommand ``name`` with its own arguments."""
    command: Command = plugins.load(plugins.COMMANDS, name)
    parser = argparse.ArgumentParser(
        prog=f"gatescope {name}",
        description=command.summary,
        epilog=f"example:\n  {command.example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.configure(parser)
    parser.add_argument("--debug", action="store_true", help="show the full traceback of a failure")
    return command.run(parser.parse_args(list(arguments)))


def _command_list() -> str:
    lines: list[str] = ["commands:"]
    for name in plugins.names(plugins.COMMANDS):
        try:
            command: Command = plugins.load(plugins.COMMANDS, name)
            summary = command.summary
        except GatescopeError as error:
            summary = f"(cannot be loaded: {error.problem})"
        lines.append(f"  {name:<10} {summary}")
    lines.append("\n'gatescope COMMAND --help' shows a command's options and an example.")
    return "\n".join(lines)


def _explain(error: Exception) -> str:
    """One message for a failure no command gave a name to."""
    if isinstance(error, ModuleNotFoundError) and (missing := missing_extra(error)):
        return str(missing)
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        advice = {
            errno.ENOSPC: "free some space, or choose another output",
            errno.EACCES: "choose a place you may read and write, or change its permissions",
            errno.EPERM: "choose a place you may read and write, or change its permissions",
            errno.EROFS: "choose a place that is not mounted read-only",
        }.get(error.errno or 0)
        return f"{error.strerror or error}{where}" + (f"\n  to do: {advice}" if advice else "")
    if isinstance(error, MemoryError):
        return "out of memory\n  to do: use a smaller --batch-size"
    return (
        f"unexpected {type(error).__name__}: {error}\n"
        "  to do: this is a fault in gatescope; run again with --debug and report the traceback"
    )


def _complain(message: str, code: int) -> int:
    print(f"gatescope: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
