"""``gatescope analyze``: a run folder becomes statistics, figures and a report."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from ...runtime.cli.command import Command
from ...runtime.cli.options import SubsetGroup, file_path
from ...runtime.cli.written import written
from .campaign import analyze_campaign


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "run",
        nargs="+",
        metavar="[NAME=]RUN",
        help="a folder that `gatescope run` wrote; several are compared, each with the first one, under the "
        "names given or names from their paths; a campaign's folder: its settings are compared",
    )
    parser.add_argument(
        "--output",
        type=file_path,
        metavar="DIR",
        help="the folder for the report; needed but for a campaign, whose comparison lies in its own folder",
    )
    parser.add_argument(
        "--annotations",
        type=file_path,
        metavar="FILE",
        help="JSONL with the ground truth: the report then joins gates and results, query by query; where "
        "lines name the clips of an audio event in gatescope_events, it says how well the gates find them",
    )
    SubsetGroup.add(parser)
    parser.add_argument(
        "--training-predictions",
        type=file_path,
        metavar="FILE",
        help="what training predicted (best_hl_val_preds.jsonl): its metrics then stand next to the run's",
    )
    parser.add_argument(
        "--ablation",
        type=file_path,
        metavar="DIR",
        help="a folder that `gatescope ablate` wrote for the same model: the report then has its verdicts",
    )
    parser.add_argument(
        "--plugin",
        type=file_path,
        action="append",
        default=[],
        metavar="FILE",
        help="Python code that registers statistics or figures of your own; may be repeated",
    )
    parser.add_argument(
        "--sample",
        action="append",
        metavar="ID",
        help="show this sample by itself: its statistics and picture (repeatable; a sample_id or a qid; "
        "'all': every sample). Without: a few that say most",
    )
    parser.add_argument(
        "--compare",
        nargs="*",
        metavar="ID",
        help="set these samples side by side; without an ID the first five",
    )
    parser.add_argument(
        "--raw", action="store_true", help="also write the gates of the samples that are shown as .npy files"
    )
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="OPTION",
        help="of a campaign: an option of training that makes no setting (repeatable)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")


def _run(options: Namespace) -> int:
    from ...runtime.brief import counted
    from ...runtime.data.subsets import subset_files
    from ...runtime.errors import UsageError
    from ...runtime.progress import steps_progress
    from ...runtime.runs.member import is_campaign
    from ...runtime.runs.reader import open_run
    from ..analyze import analyze_run
    from ..comparison.compare import compare_runs
    from ..comparison.runs import named_run
    from ..plugins.chapter import failed_line, value_lines
    from ..report.context import AnalysisOptions
    from ..report.document import to_json

    given = [named_run(text) for text in options.run]
    if len(given) == 1 and is_campaign(given[0][1]):
        return analyze_campaign(given[0][1], options)
    if options.output is None:
        raise UsageError("nothing says where to write", fix="give --output DIR")
    if options.ignore:
        raise UsageError("--ignore without a campaign", fix="leave it out, or give a campaign's folder")
    runs = [open_run(path) for _, path in given]
    qids = [qid for run in runs for qid in run.samples.select("qid").collect()["qid"]]
    subsets = SubsetGroup.build(options, qids)
    chosen = AnalysisOptions(
        annotations=options.annotations,
        subsets=subsets,
        subset_files=subset_files(options.subset),
        samples=None if options.sample is None else tuple(options.sample),
        compare=None if options.compare is None else tuple(options.compare),
        raw=options.raw,
        plugins=tuple(options.plugin),
        training_predictions=options.training_predictions,
        ablation=options.ablation,
    )
    with steps_progress("analysing") as show:
        if len(runs) > 1:
            names = [name for name, _ in given]
            result = compare_runs(runs, options.output, names=names, options=chosen, progress=show)
            told, own = f"{len(runs)} runs compared", [one.document for one in result.runs.values()]
        else:
            result = analyze_run(runs[0], options.output, options=chosen, progress=show)
            told, own = f"{counted(result.summary.samples, 'sample')} analysed", [result.document]
    for warning in result.warnings:
        print(f"gatescope: warning: {warning}", file=sys.stderr)
    documents = [document["plugins"] for document in own if "plugins" in document]
    for failure in dict.fromkeys(failed_line(one) for document in documents for one in document["failures"]):
        print(f"gatescope: warning: {failure}", file=sys.stderr)
    if options.json:
        files = [str(path) for path in result.files]
        print(to_json({"output": str(result.output), "files": files, "statistics": result.document}), end="")
    else:
        print(f"{told}; wrote")
        for line in written(result.output, result.files):
            print(f"  {line}")
        for run, document in zip(runs, own, strict=True):
            if lines := value_lines(document.get("plugins", {})):
                print(f"your own statistics of {run.path}", *lines, sep="\n  ")
    return 0


command = Command(
    summary="turn a run's gates into statistics, figures and a report",
    example="gatescope analyze run/ --output report/",
    configure=_configure,
    run=_run,
)
