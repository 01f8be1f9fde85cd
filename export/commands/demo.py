"""``gatescope demo``: ``gatescope report`` on a model and a dataset it makes itself."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ...runtime.cli.command import Command
from ...runtime.cli.options import file_path
from ...runtime.cli.written import written
from .export import describe_result, tell

if TYPE_CHECKING:
    from ..demo.demo import DemoResult


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        type=file_path,
        default=Path("gatescope-demo"),
        metavar="DIR",
        help="default: gatescope-demo; an earlier demo in it is replaced",
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="also run the same weights with global gating, compare both, and show every sample by itself",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")


def _run(args: Namespace) -> int:
    from ..demo.demo import make_demo

    result = make_demo(args.output, full=args.full, tell=tell)
    print(json.dumps(_document(result)) if args.json else _describe(result))
    return 0


def _document(result: DemoResult) -> dict[str, object]:
    return {
        "output": str(result.output),
        "videos": len(result.plan.videos),
        "queries": len(result.plan.queries),
        "model": str(result.report.export.path),
        "run": str(result.report.run.output),
        "files": [str(path) for path in result.report.files],
        "ablation": [str(path) for path in result.ablation],
        "comparison": None if result.comparison is None else str(result.comparison),
        "gates": result.findings.to_dicts(),
        "commands": list(result.commands),
    }


def _describe(result: DemoResult) -> str:
    from ..report import ABLATION

    plan, report = result.plan, result.report
    events = [len(video.event_clips) for video in plan.videos if video.event_clips]
    silent = sum(video.silent for video in plan.videos)
    together, *steps = result.commands
    return "\n".join(
        [
            describe_result(report.export),
            f"ran {report.run.samples} queries in {report.run.seconds:.1f} s",
            "",
            f"Planted: applause in {sum(events)} clips of {len(events)} of {len(plan.videos)} videos; "
            f"{silent} videos are silent.",
            "Mean of each gate, and the area under the ROC curve (AUC) of gate against applause: 0.5 is",
            "chance, 1 finds every clip, 0 closes on every clip.",
            *_table(result),
            "",
            "Look at",
            *(f"  {line}" for line in written(report.files[0].parent, report.files)),
            *(f"  {path}" for path in result.ablation if path.parent.name == ABLATION),
            *([] if result.comparison is None else [f"  {result.comparison}"]),
            "",
            "What was done, to repeat with the paths of your own checkpoint and data:",
            f"  {together}",
            "or the four steps it consists of:",
            *(f"  {step}" for step in steps),
        ]
    )


def _table(result: DemoResult) -> list[str]:
    lines = [f"  {'layer':<6}{'gate':<11}{'with applause':>14}{'without':>9}{'silent video':>14}{'AUC':>8}"]
    for row in result.findings.iter_rows(named=True):
        lines.append(
            f"  {row['layer']:<6}{row['gate']:<11}{row['event']:>+14.2f}{row['elsewhere']:>+9.2f}"
            f"{row['silent']:>+14.2f}{row['auc']:>8.3f}"
        )
    return lines


command = Command(
    summary="report on a small generated dataset and model, whose gates should find known sounds",
    example="gatescope demo --output demo",
    configure=_configure,
    run=_run,
)
