"""``gatescope monitor``: baselines of a model's gates, and traffic held against them."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace

from ...cli.command import Command
from . import alerts, baseline, check, recover, replay, watch

_SUBCOMMANDS: dict[str, Command] = {
    "baseline": baseline.command,
    "check": check.command,
    "watch": watch.command,
    "replay": replay.command,
    "recover": recover.command,
    "alerts": alerts.command,
}


def _configure(parser: ArgumentParser) -> None:
    subparsers = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
    for name, command in _SUBCOMMANDS.items():
        own = subparsers.add_parser(
            name,
            help=command.summary,
            description=command.summary,
            epilog=f"example:\n  {command.example}",
        )
        command.configure(own)
        own.add_argument("--debug", action="store_true", default=SUPPRESS, help=SUPPRESS)


def _run(args: Namespace) -> int:
    return _SUBCOMMANDS[args.subcommand].run(args)


command = Command(
    summary="watch the gates of a model in production: baselines, alarms, logs, metrics",
    example="gatescope monitor baseline run/ --output baseline.json\n"
    "  gatescope monitor watch gate-log/ --baseline baseline.json --metrics-port 9109",
    configure=_configure,
    run=_run,
)
