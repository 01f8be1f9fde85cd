"""``gatescope analyze``: a run folder becomes statistics, figures and a report."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...runtime.cli.command import Command


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a folder that `gatescope run` wrote")
    parser.add_argument("--output", required=True, metavar="DIR", help="the folder for the report")
    parser.add_argument(
        "--annotations",
        metavar="FILE",
        help="JSONL whose lines name, in gatescope_events, the clips an audio event is in: "
        "the report then says how well the gates find them",
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
    parser.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")


def _run(options: Namespace) -> int:
    from tqdm import tqdm

    from ...runtime.runs.reader import open_run
    from ..analyze import analyze_run
    from ..context import Options
    from ..report.document import to_json
    from ..report.markdown import counted

    run = open_run(options.run)
    chosen = Options(
        annotations=None if options.annotations is None else Path(options.annotations),
        samples=None if options.sample is None else tuple(options.sample),
        compare=None if options.compare is None else tuple(options.compare),
        raw=options.raw,
    )
    # No bar where stderr is no terminal: a log wants no bars.
    with tqdm(desc="analyse", unit=" samples", disable=None, leave=False) as bar:
        result = analyze_run(run, options.output, options=chosen, progress=bar.update)
    for warning in result.warnings:
        print(f"gatescope: warning: {warning}", file=sys.stderr)
    if options.json:
        files = [str(path) for path in result.files]
        print(to_json({"output": str(result.output), "files": files, "statistics": result.document}), end="")
    else:
        print(f"{counted(result.summary.samples, 'sample')} analysed; wrote")
        for line in _listed(result.output, result.files):
            print(f"  {line}")
    return 0


def _listed(output: Path, files: Sequence[Path]) -> list[str]:
    """The files beside the report by name, those in folders below by how many they are."""
    beside = [str(path) for path in files if path.parent == output]
    below = Counter(path.parent for path in files if path.parent != output)
    return [*beside, *(f"{folder}/ ({count:,} files)" for folder, count in below.items())]


command = Command(
    summary="turn a run's gates into statistics, figures and a report",
    example="gatescope analyze run/ --output report/",
    configure=_configure,
    run=_run,
)
