"""``gatescope profile``: speed, memory and the cost of tracking of an exported model, on this machine."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..cli.command import Command
from ..cli.options import DeviceGroup, file_path, positive

if TYPE_CHECKING:
    from ..profiling.results import Profile

_SECONDS = 2.0


def _configure(parser: ArgumentParser) -> None:
    parser.description = (
        "How fast an exported model is on this machine, how much memory it needs, where its time goes and\n"
        "what tracking costs. Samples are random; times are medians, the first calls left out."
    )
    parser.add_argument("model", type=file_path, help="the file 'gatescope export' wrote")
    parser.add_argument(
        "--checkpoint",
        type=file_path,
        metavar="FILE",
        help="the file the model was exported from: also compare with eager PyTorch and forward hooks "
        "(needs gatescope[export])",
    )
    parser.add_argument(
        "--batch-size",
        type=positive,
        action="append",
        metavar="N",
        help="samples in a batch; may be repeated (default: 1, 2, 4, 8, 16, 32, 64)",
    )
    parser.add_argument(
        "--clips",
        type=positive,
        action="append",
        metavar="N",
        help="clips of a sample; may be repeated (default: the most the model was trained on)",
    )
    parser.add_argument(
        "--words", type=positive, metavar="N", help="words of a query (default: the most it was trained on)"
    )
    parser.add_argument(
        "--annotations",
        type=file_path,
        metavar="FILE",
        help="take the lengths from these queries instead: clips from the durations, words counted between "
        "white space",
    )
    parser.add_argument(
        "--concurrency",
        type=positive,
        default=1,
        metavar="N",
        help="threads that call the session at the same time (default: 1)",
    )
    DeviceGroup.add(parser)
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="CPUs the model may use (default: all that this process may use)",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--seconds",
        type=_seconds,
        default=_SECONDS,
        metavar="S",
        help="how long each size of batch, and each side of a comparison, is measured (default: 2)",
    )
    length.add_argument(
        "--repeats",
        type=positive,
        metavar="N",
        help="exactly N calls (of each thread) or N pairs instead, whatever time they take",
    )
    parser.add_argument(
        "--output", type=file_path, metavar="DIR", help="write profile.json and profile.png into this folder"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"'{text}' is not a positive number of seconds")
    return value


def _tell(line: str) -> None:
    print(f"{line} …", file=sys.stderr, flush=True)


def _run(args: Namespace) -> int:
    from ..profiling.profile import profile_model
    from ..profiling.request import BATCH_SIZES, ProfileRequest, refuse_output
    from ..profiling.table import to_text
    from ..profiling.timing import Budget

    if args.output is not None:
        refuse_output(args.output)
    request = ProfileRequest(
        model=args.model,
        wanted=replace(DeviceGroup.build(args), threads=args.threads),
        batch_sizes=tuple(args.batch_size or BATCH_SIZES),
        clips=tuple(args.clips or ()),
        words=args.words,
        annotations=args.annotations,
        concurrency=args.concurrency,
        budget=Budget(seconds=args.seconds, repeats=args.repeats),
        checkpoint=args.checkpoint,
    )
    profile = profile_model(request, tell=_tell)
    print(json.dumps(profile.to_dict(), ensure_ascii=False) if args.json else to_text(profile))
    if args.output is not None:
        _write(profile, args.output, as_json=args.json)
    return 0


def _write(profile: Profile, folder: Path, *, as_json: bool) -> None:
    """Write the files and say so: on stdout, or on stderr where stdout holds JSON."""
    from ..profiling.files import write_profile

    for line in write_profile(profile, folder):
        print(line, file=sys.stderr if as_json else sys.stdout)


command = Command(
    summary="measure speed, memory and the cost of tracking of an exported model",
    example="gatescope profile m.onnx --output profile/",
    configure=_configure,
    run=_run,
)
