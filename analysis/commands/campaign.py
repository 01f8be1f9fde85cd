"""``gatescope analyze`` on a campaign's folder: settings compared, or one query in all runs."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from ...runtime.errors import UsageError

# Options of one run's report that a campaign's comparison has no place for, and how they look when not given.
_OF_ONE_RUN = ("subset", "training_predictions", "ablation", "plugin", "compare", "raw")


def analyze_campaign(folder: Path, options: Namespace) -> int:
    """Run the command on the campaign ``folder``; exit code 0, also where some runs failed: they are named.

    Raises :class:`UsageError` for options that only one run's report has.
    """
    from ...runtime.cli.written import written
    from ...runtime.progress import steps_progress
    from ..comparison.campaign.campaign import compare_campaign
    from ..comparison.campaign.query import compare_queries
    from ..report.document import to_json

    given = [name for name in _OF_ONE_RUN if getattr(options, name) not in (None, False, [])]
    if given:
        flag = f"--{given[0].replace('_', '-')}"
        raise UsageError(
            f"{flag} with a campaign",
            received=f"{folder}, a folder of several runs",
            expected="one run, or runs given one by one",
            fix=f"leave out {flag}, or analyze {folder}/NAME/run",
        )
    if options.sample is not None:
        files = compare_queries(folder, options.sample, options.output, annotations=options.annotations)
        if options.json:
            print(to_json({"files": [str(path) for path in files]}), end="")
        else:
            print("wrote", *(f"  {path}" for path in files), sep="\n")
        return 0
    if options.output is not None:
        raise UsageError(
            "--output with a campaign",
            expected="--sample too: the comparison itself lies in the campaign's folder",
            fix="leave out --output",
        )
    with steps_progress("reading the runs") as show:
        result = compare_campaign(
            folder, annotations=options.annotations, ignored=options.ignore, progress=show
        )
    for warning in result.warnings:
        print(f"gatescope: warning: {warning}", file=sys.stderr)
    if options.json:
        print(to_json(result.document), end="")
        return 0
    print(*result.told, "wrote", *(f"  {line}" for line in written(result.output, result.files)), sep="\n")
    return 0
