"""``gatescope analyze``: a run folder becomes statistics, figures and a report."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ...runtime.cli.command import Command
from ..subsets import add_subset_option


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a folder that `gatescope run` wrote")
    parser.add_argument("--output", required=True, metavar="DIR", help="the folder for the report")
    parser.add_argument(
        "--annotations",
        metavar="FILE",
        help="JSONL with the ground truth: the report then joins gates and results, query by query; where lines "
        "name the clips of an audio event in gatescope_events, also how well the gates find them",
    )
    add_subset_option(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")


def _run(options: Namespace) -> int:
    from tqdm import tqdm

    from ...runtime.runs.reader import open_run
    from ..analyze import analyze_run
    from ..context import Options
    from ..report.document import to_json
    from ..report.markdown import counted
    from ..subsets import read_subsets

    run = open_run(options.run)
    subsets = read_subsets(options.subset, run.samples.select("qid").collect()["qid"])
    annotations = None if options.annotations is None else Path(options.annotations)
    chosen = Options(annotations=annotations, subsets=subsets)
    steps = 2 * run.record.samples_in(run.parts)
    # No bar where stderr is no terminal: a log wants no bars.
    with tqdm(total=steps, desc="analyse", unit="sample", unit_scale=0.5, disable=None, leave=False) as bar:
        result = analyze_run(run, options.output, options=chosen, progress=bar.update)
    for warning in result.warnings:
        print(f"gatescope: warning: {warning}", file=sys.stderr)
    if options.json:
        files = [str(path) for path in result.files]
        print(to_json({"output": str(result.output), "files": files, "statistics": result.document}), end="")
    else:
        print(f"{counted(result.summary.samples, 'sample')} analysed; wrote")
        for path in result.files:
            print(f"  {path}")
    return 0


command = Command(
    summary="turn a run's gates into statistics, figures and a report",
    example="gatescope analyze run/ --output report/",
    configure=_configure,
    run=_run,
)
