"""``gatescope run``: a dataset through an exported model, every gate tracked, into a run folder."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..brief import counted
from ..cli.command import Command
from ..cli.interrupt import INTERRUPTED
from ..cli.options import DatasetGroup, RunGroup, file_path
from ..errors import UsageError

if TYPE_CHECKING:
    from ..running.pipeline import RunResult

# What an import of a log goes by; everything else is for a model.
_WITH_LOG = frozenset({"from_log", "output", "resume", "json", "debug"})


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("model", type=file_path, nargs="?", help="the file 'gatescope export' wrote")
    parser.add_argument(
        "--from-log",
        type=file_path,
        metavar="FILE",
        help="instead of a model: a gate log of an earlier tool (gate_logs_*.jsonl), to be turned into a run",
    )
    parser.add_argument(
        "--output", type=file_path, required=True, metavar="DIR", help="the run folder to write"
    )
    DatasetGroup.add(parser)
    RunGroup.add(parser, resume="go on with the unfinished run in --output, if there is one")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _run(args: Namespace) -> int:
    from ..running.pipeline import run_dataset, run_result

    _check_source(args)
    try:
        with _termination_interrupts():
            if args.from_log is not None:
                from ..runs.from_log import import_log

                finished = _is_finished(args)
                run = import_log(args.from_log, args.output, resume=args.resume)
                _report(run_result(run.path, run.record, was_finished=finished), as_json=args.json)
                return 0
            result = run_dataset(args.model, DatasetGroup.build(args), args.output, RunGroup.build(args))
    except KeyboardInterrupt:
        return _interrupted(args)
    _report(result, as_json=args.json)
    return 0


def _check_source(args: Namespace) -> None:
    """See that there is either a model and what it needs, or a log and nothing that only a model needs."""
    if args.from_log is None:
        lacking = [
            name for name, value in (("MODEL", args.model), ("--annotations", args.annotations)) if not value
        ]
        if lacking:
            raise UsageError(
                f"{' and '.join(lacking)} must be given",
                expected="a model and annotations to run it on, or --from-log with a gate log",
                fix=f"an example: {command.example}",
            )
        return
    names = [name for name in vars(args) if name not in _WITH_LOG]
    given = [name for name in names if getattr(args, name) not in (None, False)]
    if given:
        raise UsageError(
            "--from-log runs no model: its gates are taken as they are",
            received=", ".join(
                "a model" if name == "model" else f"--{name.replace('_', '-')}" for name in given
            ),
            expected="besides --from-log only --output, --resume and --json",
        )


def _is_finished(args: Namespace) -> bool:
    from ..runs.info import read_info

    return args.resume and (args.output / "run.json").is_file() and read_info(args.output).finished


def _report(result: RunResult, *, as_json: bool) -> None:
    from ..runs.info import told_skipped

    skipped = [{"sample_id": sample.sample_id, "reason": sample.reason} for sample in result.skipped]
    if as_json:
        told = {
            "output": str(result.output),
            "samples": result.samples,
            "queries": result.queries,
            "stored": result.stored,
            "skipped": skipped,
            "coverage": list(result.coverage),
            "seconds": round(result.seconds, 3),
            "samples_per_second": round(result.samples_per_second, 3),
        }
        print(json.dumps(told))
        return
    if result.was_finished:
        print(f"{result.output} is finished: nothing to do")
        return
    of = (
        f"{result.samples} videos ({result.queries} queries)"
        if result.per_video
        else counted(result.samples, "sample")
    )
    what = "videos" if result.per_video else "samples"
    print(
        f"wrote {result.output}: {' and '.join(result.stored)} of {of} "
        f"in {result.seconds:.1f} s ({result.samples_per_second:.1f} {what}/s)"
    )
    for sentence in result.coverage:
        print(f"note: {sentence}")
    if skipped:
        print(f"left out {len(skipped)} of {len(skipped) + result.samples} samples:")
        for line in told_skipped(result.skipped):
            print(f"  {line}")


def _interrupted(args: Namespace) -> int:
    if (args.output / "run.json").is_file():
        print(f"gatescope: interrupted; to go on:\n  {_resume_command(args)}", file=sys.stderr)
    else:
        print("gatescope: interrupted before anything was written", file=sys.stderr)
    return INTERRUPTED


def _resume_command(args: Namespace) -> str:
    """The command line that continues the run: everything that decides its numbers, and ``--resume``."""
    if args.from_log is not None:
        log, output = str(args.from_log), str(args.output)
        return shlex.join(["gatescope", "run", "--from-log", log, "--output", output, "--resume"])
    words = ["gatescope", "run", str(args.model), *DatasetGroup.build(args).words()]
    return shlex.join([*words, "--output", str(args.output), *RunGroup.build(args).words(), "--resume"])


@contextmanager
def _termination_interrupts() -> Generator[None]:
    """Within, SIGTERM (a scheduler's stop) ends a run as Ctrl-C does, so that the lock is given back."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread, where signals cannot be handled
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


command = Command(
    summary="run an exported model on a dataset and store every gate",
    example="gatescope run m.onnx --annotations val.jsonl --features features/ --output run/",
    configure=_configure,
    run=_run,
)
