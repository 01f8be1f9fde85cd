"""``gatescope epochs``: the gates of every checkpoint that training left, next to its logged metrics."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ...runtime.cli.command import Command
from ...runtime.cli.options import DatasetGroup, file_path
from ...runtime.cli.written import written
from ...runtime.errors import CheckpointError, UsageError
from .export import add_factory_option, add_model_options, choices_from, refuse_rebuilding_flags, tell
from .results import ResultsGroup, data_of, show_results

if TYPE_CHECKING:
    from ..reading.results import ResultsFolder


def _configure(parser: ArgumentParser) -> None:
    add_model_options(parser)
    add_factory_option(parser)
    DatasetGroup.add(parser)
    parser.add_argument(
        "--output",
        type=file_path,
        metavar="DIR",
        help="folder for epochs.csv and epochs.png (default: the results folder's name with -epochs, in the "
        "current folder)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")


def _results(args: Namespace) -> ResultsFolder | None:
    """The folder. Where its best checkpoint cannot be read the next that can says which model it is: the
    other is listed with the reason."""
    from ..reading.results import checkpoints_in

    try:
        return ResultsGroup.build(args, args.results)
    except CheckpointError:
        if args.checkpoint is not None or not args.results.is_dir():
            raise
        for path in checkpoints_in(args.results)[1:]:
            try:
                named = Namespace(**vars(args) | {"checkpoint": Path(path.name)})
                return ResultsGroup.build(named, args.results)
            except CheckpointError:
                continue
        raise


def _run(args: Namespace) -> int:
    from ...runtime import plugins
    from ...runtime.runs.atomic import write_atomically
    from ...runtime.runs.folder import writing
    from ..epochs.epochs import gates_by_epoch, logged_metric
    from ..epochs.told import FILES, csv_bytes, describe_epochs, epochs_json

    if args.model is not None:
        refuse_rebuilding_flags(args)
    if args.batching != "exact":
        raise UsageError(
            f"--batching {args.batching} with epochs",
            expected="exact: each video's gates by themselves, the same videos for every checkpoint",
            fix="leave it out",
        )
    draw = plugins.load(plugins.PLUGINS, "epochs-figure")
    results = _results(args)
    if results is None:
        raise UsageError(
            "the epochs of a training are in its results folder",
            received=f"--checkpoint {args.checkpoint}",
            fix="give the folder: gatescope epochs RESULTS",
        )
    show_results(results)
    found = gates_by_epoch(results, data_of(args, results), choices_from(args), factory=args.model, tell=tell)
    logged, losses = logged_metric(found), found.log.losses
    picture = draw(
        found.frame, found.metric, logged, losses, f"{found.videos} videos of {found.annotations.name}."
    )
    output: Path = args.output or Path(f"{results.folder.resolve().name}-epochs")
    with writing(output, "folder"):
        output.mkdir(parents=True, exist_ok=True)
        for name, content in zip(FILES, (csv_bytes(found), picture), strict=True):
            write_atomically(output / name, content)
    files = [output / name for name in FILES]
    if args.json:
        print(json.dumps(epochs_json(found) | {"files": [str(path) for path in files]}))
        return 0
    print(describe_epochs(found))
    print("\n".join(["wrote", *(f"  {line}" for line in written(output, files))]))
    for warning in found.warnings:
        print(f"gatescope: warning: {warning}", file=sys.stderr)
    return 0


command = Command(
    summary="the gates of every checkpoint of a training by epoch, next to its logged metrics",
    example="gatescope epochs results/hl-video_tef-my_run/",
    configure=_configure,
    run=_run,
)
