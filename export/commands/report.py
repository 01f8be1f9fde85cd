"""``gatescope report``: a checkpoint and a dataset in, a gate report out; export, run and analyze in one."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.cli.command import Command
from ...runtime.cli.options import DatasetGroup, RunGroup, SubsetGroup, file_path
from ...runtime.cli.written import written
from ...runtime.errors import UsageError
from .code import CodeGroup
from .export import (
    add_factory_option,
    add_model_options,
    add_verify_options,
    choices_from,
    describe_result,
    refuse_rebuilding_flags,
    tell,
    verification_from,
)
from .results import ResultsGroup, data_of, show_results, verification_with

if TYPE_CHECKING:
    from ..reading.results import ResultsFolder
    from ..report import ReportResult


def describe_report(result: ReportResult) -> str:
    """What was made and where the report is, for people."""
    from ...runtime.runs.info import told_skipped

    run = result.run
    if result.exported_before:
        lines = [f"used {result.export.path}, exported before"]
    else:
        lines = [describe_result(result.export)]
    if run.was_finished:
        lines.append(f"kept {run.output}: {run.samples} samples, run before")
    else:
        lines.append(
            f"wrote {run.output}: gates of {run.samples} samples "
            f"({run.seconds:.1f} s, {run.samples_per_second:.1f} samples/s)"
        )
    if run.skipped:
        lines.append(f"left out {len(run.skipped)} samples:")
        lines += [f"  {line}" for line in told_skipped(run.skipped)]
    lines.append("wrote the report and its figures:")
    lines += [f"  {line}" for line in written(result.files[0].parent, result.files)]
    lines += _causes(result)
    return "\n".join(lines)


def _causes(result: ReportResult) -> list[str]:
    """The verdicts of the ablation, and where it lies; without one how to get it."""
    if causes := result.statistics.get("ablation"):
        where = result.ablation[0] if result.ablation else result.output / "ablation"
        return [f"what gates and audio cause ({where}):", *(f"  {line}" for line in causes["lines"])]
    if result.export.manifest.overrides:
        return ["what gates and audio cause was not measured: the same command with --ablate does that"]
    return []


def report_json(result: ReportResult) -> dict[str, Any]:
    """The same for machines."""
    return {
        "output": str(result.output),
        "model": str(result.export.path),
        "exported_before": result.exported_before,
        "manifest": result.export.manifest.to_dict(),
        "run": {
            "output": str(result.run.output),
            "samples": result.run.samples,
            "skipped": [{"sample_id": s.sample_id, "reason": s.reason} for s in result.run.skipped],
            "seconds": round(result.run.seconds, 3),
            "samples_per_second": round(result.run.samples_per_second, 3),
        },
        "files": [str(path) for path in result.files],
        "ablation": [str(path) for path in result.ablation],
        "warnings": list(result.warnings),
    }


def _configure(parser: ArgumentParser) -> None:
    add_model_options(parser)
    add_factory_option(parser)
    CodeGroup.add(parser)
    DatasetGroup.add(parser)
    RunGroup.add(parser, default_batch="32; in reference batching what training evaluated with")
    SubsetGroup.add(parser)
    add_verify_options(parser)
    parser.add_argument(
        "--output",
        type=file_path,
        metavar="DIR",
        help="folder for model.onnx, run/ and report/ (default: the results folder's name with -report, in "
        "the current folder); a report that was interrupted there continues",
    )
    parser.add_argument(
        "--ablate",
        action="store_true",
        help="also run the model with its gates and its audio changed; the report then says what that causes",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")


def default_output(results: ResultsFolder) -> Path:
    """Where a report of ``results`` goes where nothing else is said: into the current folder."""
    return Path(f"{results.folder.resolve().name}-report")


def _run(args: Namespace) -> int:
    CodeGroup.read(args)
    results = ResultsGroup.build(args, args.results)
    code = CodeGroup.build(args, results)
    if code is not None or args.model is not None:
        refuse_rebuilding_flags(args)
    from ..report import report_checkpoint

    if results is None:
        checkpoint, output = args.checkpoint, args.output
        dataset, verification = DatasetGroup.build(args), verification_from(args)
        if output is None:
            raise UsageError("nothing says where to write", fix="give --output DIR")
    else:
        show_results(results)
        checkpoint, output = results.checkpoint, args.output or default_output(results)
        dataset, verification = data_of(args, results), verification_with(args, results)
    result = report_checkpoint(
        checkpoint,
        dataset,
        output,
        choices_from(args),
        RunGroup.build(args),
        factory=args.model if code is None else None,
        code=code,
        verification=verification,
        subsets=args.subset,
        ablate=args.ablate,
        tell=tell,
    )
    if args.json:
        print(json.dumps(report_json(result)))
        return 0
    print(describe_report(result))
    for warning in result.warnings:
        print(f"gatescope: warning: {warning}", file=sys.stderr)
    return 0


command = Command(
    summary="export, run and analyze in one: from a results folder or a checkpoint to a gate report",
    example="gatescope report results/hl-video_tef-my_run/",
    configure=_configure,
    run=_run,
)
