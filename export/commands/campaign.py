"""``gatescope report`` with several results folders: a campaign."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...runtime.brief import counted
from ...runtime.cli.written import written
from ...runtime.errors import UsageError

if TYPE_CHECKING:
    from ..reading.results import ResultsFolder
    from ..report import ReportResult

# What decides where and how much is done, not what comes out.
_NOT_MADE_WITH = {"results", "output", "only", "comparison_only", "json", "ablate", "debug"}


class ReportOne(Protocol):
    """Reports on one results folder as the options of the command say."""

    def __call__(
        self, args: Namespace, results: ResultsFolder, output: Path, *, analyse: bool, others: tuple[str, ...]
    ) -> ReportResult:
        """Everything into ``output``, where ``others`` may lie too; without ``analyse`` up to the run."""
        ...


class CampaignGroup:
    """Options that only several results folders have."""

    @staticmethod
    def add(parser: ArgumentParser) -> None:
        """Add the options."""
        group = parser.add_argument_group("several results folders")
        group.add_argument(
            "--only",
            type=_share,
            metavar="I/N",
            help="of several results folders this task's share: every N-th from the I-th on, for array tasks "
            "that write into one --output; the last one writes the comparison",
        )
        group.add_argument(
            "--comparison-only",
            action="store_true",
            help="of several results folders: only the comparison, without each folder's own report",
        )


def _share(text: str) -> tuple[int, int]:
    place, sign, count = text.partition("/")
    if not (sign and place.isdecimal() and count.isdecimal() and 1 <= int(place) <= int(count)):
        raise ArgumentTypeError(f"'{text}' is not I/N with I from 1 to N")
    return int(place), int(count)


def refuse_campaign_flags(args: Namespace) -> None:
    """Raises :class:`UsageError` for options that only several results folders have."""
    for flag in ("only", "comparison_only"):
        if getattr(args, flag):
            raise UsageError(
                f"--{flag.replace('_', '-')} without several results folders",
                fix="give more than one, such as results/*/, or leave it out",
            )


def run_campaign(args: Namespace, report_one: ReportOne) -> int:
    """Run the command on several results folders: exit code 1 where any of this task's failed."""
    from ..campaign import MEMBER_FILES, Work, report_campaign
    from .export import tell
    from .results import ResultsGroup

    if args.output is None:
        raise UsageError("several results folders need one --output", fix="give --output campaign/")
    if args.verify is not None:
        raise UsageError(
            "--verify FILE with several results folders",
            expected="each folder's own predictions, which are taken where they apply",
            fix="leave out --verify",
        )

    def opened(folder: Path) -> ResultsFolder:
        results = ResultsGroup.build(args, folder)
        assert results is not None
        return results

    work = Work(
        opened,
        lambda results, output, analyse: report_one(
            args, results, output, analyse=analyse, others=MEMBER_FILES
        ),
        _made_with(args),
        None if args.checkpoint is None else str(args.checkpoint),
    )
    outcome = report_campaign(
        args.results, args.output, work, only=args.only, reports=not args.comparison_only, tell=tell
    )
    compared = outcome.comparison
    if args.json:
        document = None if compared is None else compared.document
        print(json.dumps({"failed": outcome.failed, "waiting": outcome.waiting, "campaign": document}))
    elif compared is not None:
        print(*compared.told, "wrote", sep="\n")
        print(*(f"  {line}" for line in written(outcome.output, compared.files)), sep="\n")
    else:
        print(
            f"{counted(len(outcome.waiting), 'folder')} of other tasks not done yet: "
            "the task that ends last writes the comparison"
        )
    for warning in () if compared is None else compared.warnings:
        print(f"gatescope: warning: {warning}", file=sys.stderr)
    for name, why in outcome.failed.items():
        print(f"gatescope: failed: {name}: {why}", file=sys.stderr)
    return 1 if outcome.failed else 0


def _made_with(args: Namespace) -> str:
    """Every choice that decides what comes out, as text."""
    given = vars(args).items()
    kept = {name: value for name, value in given if name not in _NOT_MADE_WITH and not callable(value)}
    return json.dumps(
        {name: str(value) for name, value in sorted(kept.items()) if value not in (None, [], False)}
    )
