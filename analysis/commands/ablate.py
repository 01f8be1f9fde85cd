"""``gatescope ablate``: what gates and audio cause, by running a model without them."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from ...runtime.cli.command import Command
from ...runtime.cli.interrupt import INTERRUPTED
from ...runtime.cli.options import DatasetGroup, RunGroup, SubsetGroup, file_path


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("model", type=file_path, help="a file that 'gatescope export --overridable' wrote")
    parser.add_argument("--output", type=file_path, required=True, metavar="DIR", help="the folder to write")
    DatasetGroup.add(parser, required=True)
    RunGroup.add(
        parser,
        resume="go on with the ablation in --output, or judge a finished one again with other subsets",
    )
    SubsetGroup.add(parser)
    parser.add_argument("--json", action="store_true", help="print ablation.json, and nothing else")


def _run(args: Namespace) -> int:
    from ..causes.ablation.ablate import ablate_dataset
    from ..report.document import to_json

    try:
        dataset, settings = DatasetGroup.build(args), RunGroup.build(args)
        result = ablate_dataset(args.model, dataset, args.output, settings, subsets=args.subset)
    except KeyboardInterrupt:
        print("gatescope: interrupted; the same command with --resume goes on", file=sys.stderr)
        return INTERRUPTED
    for warning in result.warnings:
        print(f"gatescope: warning: {warning}", file=sys.stderr)
    if args.json:
        print(to_json(result.document), end="")
        return 0
    for what in ("audio", "gates"):
        print(result.document["verdicts"][what])
    if result.skipped:
        from ...runtime.runs.info import told_skipped

        print(f"left out {len(result.skipped)} samples:")
        for line in told_skipped(result.skipped):
            print(f"  {line}")
    print("wrote")
    for path in result.files:
        print(f"  {path}")
    return 0


command = Command(
    summary="what audio and gates cause: run a model without them and compare its metrics",
    example="gatescope ablate m.onnx --annotations val.jsonl --features features/ --output ablation/",
    configure=_configure,
    run=_run,
)
