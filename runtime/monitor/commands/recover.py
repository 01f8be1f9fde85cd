"""``gatescope monitor recover``: what can be read of a log after a crash or damage."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from ...cli.command import Command
from ...cli.options import file_path


def _configure(parser: ArgumentParser) -> None:
    parser.description = (
        "Reads all that can be read of a gate log, changes nothing in it, and says what is lost. Exits 0\n"
        "where nothing that was acknowledged is lost, 3 where something is, 1 where nothing can be read."
    )
    parser.add_argument("log", type=file_path, metavar="LOGDIR", help="the gate log of a MonitoredSession")
    parser.add_argument(
        "--output",
        type=file_path,
        metavar="DIR",
        help="a new folder for videos.parquet and a run of whole gates",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document, and nothing else")


def _run(args: Namespace) -> int:
    from ..log.recovery import recover

    found = recover(args.log, args.output)
    print(json.dumps(found.to_dict()) if args.json else found.text())
    return found.exit_code


command = Command(
    summary="save what can be read of a gate log after a crash, and say what is lost",
    example="gatescope monitor recover gate-log/ --output saved/",
    configure=_configure,
    run=_run,
)
