"""``gatescope evaluate``: predictions become the benchmark's metrics, with intervals and subsets."""

from __future__ import annotations

import shlex
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ...runtime.cli.command import Command
from ...runtime.cli.options import SubsetGroup, file_path

if TYPE_CHECKING:
    from ..evaluation.evaluate import Evaluation

_SUFFIXES = (".csv", ".parquet")


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "predictions",
        type=file_path,
        metavar="RUN|FILE",
        help="a folder that `gatescope run` wrote, or predictions in the benchmark's submission format",
    )
    parser.add_argument(
        "--annotations", type=file_path, required=True, metavar="FILE", help="JSONL with the ground truth"
    )
    SubsetGroup.add(parser)
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="evaluate the queries that are both predicted and annotated, and say what is left out",
    )
    parser.add_argument(
        "--output", type=file_path, metavar="FILE", help="write every query's own values, as .csv or .parquet"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the benchmark's JSON, with our additions, and nothing else"
    )


def _run(options: Namespace) -> int:
    from ...runtime.errors import UsageError
    from ...runtime.files import new_file
    from ..evaluation.document import evaluation_document, evaluation_text, evaluation_words
    from ..report.again import code
    from ..report.document import to_json

    output: Path | None = options.output
    if output is not None and output.suffix.lower() not in _SUFFIXES:
        raise UsageError(
            f"--output {output} is neither CSV nor Parquet", expected="a name that ends in .csv or .parquet"
        )
    evaluation = _evaluation(options.predictions, options.annotations, options.allow_missing)
    subsets = SubsetGroup.build(options, evaluation.per_query["qid"])
    for note in evaluation.notes:
        print(f"gatescope: note: {note}", file=sys.stderr)
    if output is not None:
        with new_file(output) as partial:
            if output.suffix.lower() == ".csv":
                evaluation.per_query.write_csv(partial)
            else:
                evaluation.per_query.write_parquet(partial)
    words = evaluation_words(
        options.predictions,
        options.annotations,
        subsets=options.subset,
        allow_missing=options.allow_missing,
        output=output,
    )
    if options.json:
        command = shlex.join([*words, "--json"])
        print(to_json({**evaluation_document(evaluation, subsets), "command": command}), end="")
    else:
        print(evaluation_text(evaluation, subsets), end="")
        if output is not None:
            print(f"\nwrote {output}")
        print(f"\nthe same again, in the folder that this was run in:\n{code(words)}")
    return 0


def _evaluation(predictions: Path, annotations: Path, allow_missing: bool) -> Evaluation:
    from ...runtime.runs.reader import open_run
    from ..evaluation.evaluate import evaluate_file, evaluate_run

    if predictions.is_dir():
        return evaluate_run(open_run(predictions), annotations, allow_missing=allow_missing)
    return evaluate_file(predictions, annotations, allow_missing=allow_missing)


command = Command(
    summary="the QVHighlights benchmark's metrics of a run or of predictions",
    example="gatescope evaluate run/ --annotations val.jsonl --subset audio=audio_val.jsonl",
    configure=_configure,
    run=_run,
)
