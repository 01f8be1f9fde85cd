"""``gatescope ablate``: what gates and audio cause, by running a model without them."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from ...runtime.cli.command import Command
from ...runtime.cli.options import add_device_option, add_feature_options
from ...runtime.cli.values import file_path, positive
from ..subsets.selection import add_subset_option

INTERRUPTED = 130


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("model", type=file_path, help="a file that 'gatescope export --overridable' wrote")
    parser.add_argument(
        "--annotations",
        type=file_path,
        required=True,
        metavar="FILE",
        help="queries with their ground truth, JSONL",
    )
    parser.add_argument("--output", type=file_path, required=True, metavar="DIR", help="the folder to write")
    add_feature_options(parser)
    add_subset_option(parser)
    add_device_option(parser)
    parser.add_argument(
        "--batch-size", type=positive, default=32, metavar="N", help="samples in a batch (default: 32)"
    )
    parser.add_argument("--max-samples", type=positive, metavar="N", help="only the first N queries")
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out samples whose features cannot be used"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the ablation in --output, or judge a finished one again with other subsets",
    )
    parser.add_argument("--json", action="store_true", help="print ablation.json, and nothing else")


def _run(args: Namespace) -> int:
    from ..causes.ablation.ablate import ablate
    from ..report.document import to_json

    try:
        result = ablate(
            args.model,
            args.annotations,
            args.features,
            args.output,
            video_features=args.video_features,
            audio_features=args.audio_features,
            text_features=args.text_features,
            subsets=args.subset,
            device=args.device or "auto",
            batch_size=args.batch_size,
            max_samples=args.max_samples,
            skip_bad=args.skip_bad,
            resume=args.resume,
        )
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
