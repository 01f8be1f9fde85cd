"""``gatescope report``: a checkpoint and a dataset in, a gate report out; export, run and analyze in one."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.cli.command import Command
from ...runtime.cli.options import DatasetGroup, RunGroup, SubsetGroup, file_path
from ...runtime.cli.written import written
from ...runtime.errors import UsageError
from .campaign import CampaignGroup, refuse_campaign_flags, run_campaign
from .code import FOUND, CodeGroup
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
    from ...runtime.data.dataset import Dataset
    from ..proof.verify import VerifyRequest
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
    add_model_options(parser, several=True)
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
    CampaignGroup.add(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")


def default_output(results: ResultsFolder) -> Path:
    """Where a report of ``results`` goes where nothing else is said: into the current folder."""
    return Path(f"{results.folder.resolve().name}-report")


def _read_code(args: Namespace) -> None:
    """Set right ``--code RESULTS …``, where argparse takes the first folder for the code's place."""
    from ..reading.results import checkpoints_in

    if args.results and isinstance(args.code, Path) and args.code.is_dir() and checkpoints_in(args.code):
        args.results, args.code = [args.code, *args.results], FOUND
    CodeGroup.read(args)
    if isinstance(args.results, Path):
        args.results = [args.results]


def _run(args: Namespace) -> int:
    _read_code(args)
    if len(args.results) > 1:
        return run_campaign(args, report_with)
    refuse_campaign_flags(args)
    results = ResultsGroup.build(args, next(iter(args.results), None))
    if results is None:
        if args.output is None:
            raise UsageError("nothing says where to write", fix="give --output DIR")
        result = _reported(
            args, None, args.checkpoint, DatasetGroup.build(args), args.output, verification_from(args)
        )
    else:
        show_results(results)
        result = report_with(args, results, args.output or default_output(results))
    if args.json:
        print(json.dumps(report_json(result)))
        return 0
    print(describe_report(result))
    for warning in result.warnings:
        print(f"gatescope: warning: {warning}", file=sys.stderr)
    return 0


def report_with(
    args: Namespace,
    results: ResultsFolder,
    output: Path,
    *,
    analyse: bool = True,
    others: Collection[str] = (),
) -> ReportResult:
    """Report on one results folder as the options say."""
    data, verification = data_of(args, results), verification_with(args, results)
    return _reported(
        args, results, results.checkpoint, data, output, verification, analyse=analyse, others=others
    )


def _reported(
    args: Namespace,
    results: ResultsFolder | None,
    checkpoint: Path,
    dataset: Dataset,
    output: Path,
    verification: VerifyRequest | None,
    *,
    analyse: bool = True,
    others: Collection[str] = (),
) -> ReportResult:
    from ..report import report_checkpoint

    code = CodeGroup.build(args, results)
    if code is not None or args.model is not None:
        refuse_rebuilding_flags(args)
    return report_checkpoint(
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
        analyse=analyse,
        others=others,
        tell=tell,
    )


command = Command(
    summary="export, run and analyze in one: from a results folder or a checkpoint to a gate report",
    example="gatescope report results/hl-video_tef-my_run/",
    configure=_configure,
    run=_run,
)
