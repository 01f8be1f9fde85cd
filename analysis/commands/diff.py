"""``gatescope diff``: whether two runs are the same within a tolerance, as a release check."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from ...runtime.cli.command import Command


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ArgumentTypeError(f"'{text}' is not a number from 0")
    return value


def _configure(parser: ArgumentParser) -> None:
    parser.description = (
        "Compares models, samples, gates and predictions of two runs. Exits 0 where they are the same "
        "within the\ntolerance, 1 where they are not, 2 on bad usage."
    )
    parser.add_argument("one", metavar="RUN_A", help="a folder that `gatescope run` wrote")
    parser.add_argument("other", metavar="RUN_B", help="the run to compare it with")
    parser.add_argument(
        "--tolerance",
        type=_tolerance,
        default=1e-3,
        metavar="X",
        help="the largest difference of gates, scores, saliency and spans that is none (default: 1e-3)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document, and nothing else")


def _run(options: Namespace) -> int:
    from ...runtime.progress import progress
    from ...runtime.runs.reader import open_run
    from ..comparison.diff import diff_runs
    from ..comparison.diff_text import diff_text
    from ..report.document import to_json

    one, other = open_run(options.one), open_run(options.other)
    with progress("comparing", one.record.samples_in(one.parts)) as advance:
        found = diff_runs(one, other, tolerance=options.tolerance, advance=advance)
    if options.json:
        print(to_json(found.to_dict()), end="")
    else:
        print(diff_text(found), end="")
    return 0 if found.within else 1


command = Command(
    summary="compare two runs within a tolerance: did an upgrade change anything",
    example="gatescope diff run_before/ run_after/ --tolerance 1e-3",
    configure=_configure,
    run=_run,
)
