"""The entry of the ``gatescope`` command line.

Exit codes: 0 success, 1 a failure with a name, 2 bad usage, 130 interrupted. A traceback is shown only
with ``--debug``.
"""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Sequence
from importlib.metadata import version

from .. import plugins
from ..errors import GatescopeError
from ..extras import missing_extra
from .again import command_again
from .command import Command
from .interrupt import INTERRUPTED, interrupts_are_kept
from .parser import Parser, nearest
from .streams import write_any_sign

DESCRIPTION = "Open the gates of trained audio-visual models: export, run, analyse, watch."
SHELLS = ("bash", "zsh", "tcsh")
# The order in which somebody new needs them; commands of users' packages follow.
_FIRST = ("demo", "report", "inspect", "export", "run", "analyze", "evaluate", "ablate", "diff", "profile")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; ``argv`` defaults to the process's arguments. Returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    write_any_sign()
    try:
        with interrupts_are_kept():
            return _dispatch(arguments)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except GatescopeError as error:
        if debug:
            raise
        again = f"\n  command: {command_again(arguments, error.again)}" if error.again else ""
        return _complain(f"error: {error}{again}", error.exit_code)
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
    if arguments[:1] == ["--debug"]:  # behind the command, and before a "--" of its own
        arguments = [*arguments[1:2], "--debug", *arguments[2:]]
    parser = Parser(
        prog="gatescope", description=DESCRIPTION, add_help=False, usage="gatescope COMMAND [OPTION …]"
    )
    parser.add_argument("-V", "--version", action="store_true", help="print the version and exit")
    parser.add_argument("-h", "--help", action="store_true", help="print this help and exit")
    parser.add_argument(
        "--completion",
        choices=SHELLS,
        metavar="SHELL",
        help=f"print what completes commands and options with Tab in {', '.join(SHELLS)}: "
        'eval "$(gatescope --completion bash)"',
    )
    parser.add_argument("--debug", action="store_true", help="show the full traceback of a failure")
    head = arguments[:1]
    if head and not head[0].startswith("-"):
        return _run_named(parser, head[0], arguments[1:])
    options = parser.parse_args(arguments)
    if options.version:
        return _print_version()
    if options.completion:
        return _print_completion(options.completion)
    parser.epilog = _command_list()
    parser.print_help(sys.stdout if options.help else sys.stderr)
    return 0 if options.help else 2


def _run_named(parser: Parser, name: str, arguments: Sequence[str]) -> int:
    known = command_names()
    if name in known:
        return run_command(name, arguments)
    if name == "version":
        version_parser = Parser(prog="gatescope version", description="Print what is installed here.")
        version_parser.parse_args(arguments)
        from .installation import installation

        print("\n".join(installation()))
        return 0
    if name == "help":
        return _dispatch([*arguments[:1], "--help"])
    meant = nearest(name, known) or f"; there are: {', '.join(known)}"
    return parser.error(f"unknown command '{name}'{meant}")


def command_names() -> list[str]:
    """Every command, those somebody new needs first."""
    names = plugins.names(plugins.COMMANDS)
    return [name for name in _FIRST if name in names] + [name for name in names if name not in _FIRST]


def command_parser(name: str) -> tuple[Command, Parser]:
    """The command ``name`` and the parser of its options."""
    command: Command = plugins.load(plugins.COMMANDS, name)
    parser = Parser(
        prog=f"gatescope {name}", description=command.summary, epilog=f"example:\n  {command.example}"
    )
    command.configure(parser)
    parser.add_argument("--debug", action="store_true", help="show the full traceback of a failure")
    return command, parser


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Run the subcommand ``name`` with its own arguments."""
    command, parser = command_parser(name)
    return command.run(parser.parse_args(list(arguments)))


def _print_version() -> int:
    print(f"gatescope {version('gatescope')}")
    return 0


def _print_completion(shell: str) -> int:
    import shtab

    whole = Parser(prog="gatescope", description=DESCRIPTION)
    whole.add_argument("-V", "--version", action="store_true", help="print the version and exit")
    subparsers = whole.add_subparsers()
    for name in command_names():
        try:
            command: Command = plugins.load(plugins.COMMANDS, name)
        except GatescopeError as error:  # one package's fault must not take completion from all commands
            print(f"gatescope: '{name}' is not completed: {error.problem}", file=sys.stderr)
            continue
        command.configure(subparsers.add_parser(name, help=command.summary))
    print(shtab.complete(whole, shell=shell))
    return 0


def _command_list() -> str:
    lines: list[str] = ["commands:"]
    for name in command_names():
        try:
            command: Command = plugins.load(plugins.COMMANDS, name)
            summary = command.summary
        except GatescopeError as error:
            summary = f"(cannot be loaded: {error.problem})"
        lines.append(f"  {name:<10} {summary}")
    lines.append("\n'gatescope COMMAND --help' shows a command's options and an example,")
    lines.append("'gatescope version' what is installed here.")
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
