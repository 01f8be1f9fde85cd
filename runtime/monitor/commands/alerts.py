"""``gatescope monitor alerts``: Prometheus rules and a Grafana dashboard for a baseline's model."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from ...cli.command import Command
from ...cli.options import file_path
from .options import add_baseline, seconds


def _configure(parser: ArgumentParser) -> None:
    add_baseline(parser)
    parser.add_argument("--output", type=file_path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--stale-seconds",
        type=seconds,
        default=300.0,
        metavar="S",
        help="after how long without a video traffic is stale (default: 300)",
    )
    parser.add_argument("--json", action="store_true", help="print the files as JSON")


def _run(args: Namespace) -> int:
    from ...files import new_file
    from ..alerting.dashboard import DASHBOARD_FILE, dashboard
    from ..alerting.rules import RULES_FILE, TESTS_FILE, AlertSubject, alert_rules, alert_rules_test
    from ..baseline.stored import load_baseline

    subject = AlertSubject.of(load_baseline(args.baseline), args.stale_seconds)
    made = {
        RULES_FILE: alert_rules(subject),
        TESTS_FILE: alert_rules_test(subject),
        DASHBOARD_FILE: dashboard(subject),
    }
    for name, text in made.items():
        with new_file(args.output / name) as partial:
            partial.write_text(text, encoding="utf-8")
    paths = [str(args.output / name) for name in made]
    if args.json:
        print(json.dumps({"files": paths}))
    else:
        print("\n".join(f"wrote {path}" for path in paths))
    return 0


command = Command(
    summary="write Prometheus alert rules, their tests, and a Grafana dashboard",
    example="gatescope monitor alerts --baseline baseline.json --output alerting/",
    configure=_configure,
    run=_run,
)
