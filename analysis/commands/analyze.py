"""``gatescope analyze``: a run folder becomes statistics, figures and a report."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ...runtime.cli.command import Command
from ..subsets import add_subset_option


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "run",
        nargs="+",
        metavar="RUN",
        help="a folder that `gatescope run` wrote; several are compared, each with the first one",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="the folder for the report")
    parser.add_argument(
        "--annotations",
        metavar="FILE",
        help="JSONL with the ground truth: the report then joins gates and results, query by query; where "
        "lines name the clips of an audio event in gatescope_events, it says how well the gates find them",
    )
    add_subset_option(parser)
    parser.add_argument(
        "--plugin",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="Python code that registers statistics or figures of your own; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")


def _run(options: Namespace) -> int:
    from tqdm import tqdm

    from ...runtime.runs.reader import open_run
    from ..analyze import analyze_run
    from ..comparison.compare import compare_runs
    from ..context import Options
    from ..plugins.chapter import failed_line, told
    from ..report.document import to_json
    from ..report.markdown import counted
    from ..subsets import read_subsets

    runs = [open_run(path) for path in options.run]
    qids = [qid for run in runs for qid in run.samples.select("qid").collect()["qid"]]
    subsets = read_subsets(options.subset, qids)
    annotations = None if options.annotations is None else Path(options.annotations)
    chosen = Options(annotations=annotations, subsets=subsets, plugins=tuple(options.plugin))
    steps = sum(2 * run.record.samples_in(run.parts) for run in runs)
    # No bar where stderr is no terminal: a log wants no bars.
    with tqdm(total=steps, desc="analyse", unit="sample", unit_scale=0.5, disable=None, leave=False) as bar:
        if len(runs) > 1:
            result = compare_runs(runs, options.output, options=chosen, progress=bar.update)
            headline = f"{len(runs)} runs compared"
        else:
            result = analyze_run(runs[0], options.output, options=chosen, progress=bar.update)
            headline = f"{counted(result.summary.samples, 'sample')} analysed"
    for warning in result.warnings:
        print(f"gatescope: warning: {warning}", file=sys.stderr)
    plugins = result.document.get("plugins", {"statistics": {}, "failures": []})
    for failed in plugins["failures"]:
        print(f"gatescope: warning: {failed_line(failed)}", file=sys.stderr)
    if options.json:
        files = [str(path) for path in result.files]
        print(to_json({"output": str(result.output), "files": files, "statistics": result.document}), end="")
    else:
        print(f"{headline}; wrote")
        for path in result.files:
            print(f"  {path}")
        if lines := told(plugins):
            print("your own statistics", *lines, sep="\n  ")
    return 0


command = Command(
    summary="turn a run's gates into statistics, figures and a report",
    example="gatescope analyze run/ --output report/",
    configure=_configure,
    run=_run,
)
