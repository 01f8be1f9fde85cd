"""``gatescope monitor check``: one finished run held against a baseline, for batch jobs."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from ...cli.command import Command
from ...cli.options import file_path
from .options import add_baseline, share


def _configure(parser: ArgumentParser) -> None:
    parser.description = (
        "Holds all videos of a run against a baseline, as one window. Exits 0 where every detector is\n"
        "within its threshold, 1 where one is not or the check cannot be made, 2 on bad usage."
    )
    parser.add_argument("run", type=file_path, metavar="RUN", help="a folder that 'gatescope run' wrote")
    add_baseline(parser)
    parser.add_argument(
        "--false-alarms", type=share, metavar="SHARE", help="of checks (default: the baseline's)"
    )
    parser.add_argument("--output", type=file_path, metavar="FILE", help="write the report to a file as well")
    parser.add_argument("--json", action="store_true", help="print one JSON document, and nothing else")


def _run(args: Namespace) -> int:
    from dataclasses import replace

    from ...errors import BaselineError
    from ...files import new_file
    from ...runs.reader import open_run
    from ..baseline.stored import load_baseline
    from ..offline.check import check_run

    if (args.run / "log.json").is_file():
        raise BaselineError(
            f"{args.run} is a gate log, not a run",
            expected="a folder that 'gatescope run' wrote",
            fix="use 'gatescope monitor replay' for a log",
        )
    baseline = load_baseline(args.baseline)
    if args.false_alarms is not None:
        # Thresholds that were kept are of another rate; those of the run's size are computed.
        baseline = replace(baseline, false_alarms=args.false_alarms, thresholds={"": ()})
    found = check_run(open_run(args.run), baseline)
    text = json.dumps(found.to_dict()) if args.json else found.text()
    if args.output is not None:
        with new_file(args.output) as partial:
            partial.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0 if found.within else 1


command = Command(
    summary="hold one run against a baseline: exit 0 or 1, and a report",
    example="gatescope monitor check run/ --baseline baseline.json",
    configure=_configure,
    run=_run,
)
