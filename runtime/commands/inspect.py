"""``gatescope inspect``: what a checkpoint, a results folder, an exported model or a run is."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from ..cli.command import Command
from ..cli.options import DataGroup, FeatureGroup, file_path


def _configure(parser: ArgumentParser) -> None:
    parser.description = (
        "What FILE is and what is wrong with it. Exits 0 where it can be used (as it is, or with the flags\n"
        "that are shown), 1 where it is broken, unsupported, or none of the four."
    )
    parser.add_argument(
        "file",
        type=file_path,
        metavar="FILE|RESULTS",
        help="a checkpoint, the folder training wrote, an exported model or a run folder",
    )
    parser.add_argument(
        "--checkpoint", metavar="NAME", help="of a folder training wrote: the checkpoint (default: the best)"
    )
    DataGroup.add(parser)
    parser.add_argument(
        "--root", type=file_path, metavar="DIR", help="a folder under which the paths training recorded lie"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _run(args: Namespace) -> int:
    from ..inspection.identify import ResultsOptions, inspect_path

    options = ResultsOptions(args.checkpoint, args.annotations, FeatureGroup.build(args), args.root)
    found = inspect_path(args.file, options)
    print(json.dumps(found.to_dict(), ensure_ascii=False) if args.json else found.to_text())
    return 0 if found.usable else 1


command = Command(
    summary="say what a checkpoint, results folder, exported model or run is, and what is wrong with it",
    example="gatescope inspect model_best.ckpt",
    configure=_configure,
    run=_run,
)
