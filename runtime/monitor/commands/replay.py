"""``gatescope monitor replay``: what a watcher would have told about an old log."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from ...cli.command import Command
from ...cli.options import file_path
from .options import add_baseline, add_thresholds, add_watching, watching


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("log", type=file_path, metavar="LOGDIR", help="the gate log of a MonitoredSession")
    add_baseline(parser)
    add_thresholds(parser, "default: the baseline's", "default: the baseline's")
    add_watching(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document, and nothing else")


def _run(args: Namespace) -> int:
    from ..baseline.stored import load_baseline
    from ..offline.replay import replay

    found = replay(
        args.log,
        load_baseline(args.baseline),
        watching(args),
        windows=args.window,
        false_alarms=args.false_alarms,
    )
    print(json.dumps(found.to_dict()) if args.json else found.text())
    return 0


command = Command(
    summary="run a watcher with any setting over an old log: when it would have alarmed",
    example="gatescope monitor replay gate-log/ --baseline baseline.json --window 50 --false-alarms 0.001",
    configure=_configure,
    run=_run,
)
