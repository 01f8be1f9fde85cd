"""An ablation's verdict within the report of a run: the chapter "What the gates cause"."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ....runtime.errors import UsageError
from ....runtime.runs.reader import Run
from ...report.again import code
from ...report.chapter import chapter
from ...report.context import Context
from ...report.markdown import plain
from ...report.section import Section
from .plan import DOCUMENT, REPORT, ablation_words

_LONGEST = 1000


@chapter("What the gates cause", check=lambda context: context.once(_verdicts))
def causes_chapter(context: Context) -> Section | None:
    """The verdicts of the ablation that was given, else how to get one; None for the run of a live model."""
    verdicts = context.once(_verdicts)
    if verdicts is None:
        live = context.run.manifest.format == "live"
        return None if live else Section(causes_chapter.heading, _how(context.run))
    folder = context.options.ablation
    assert folder is not None
    lines = [*verdicts["lines"], *(f"Subset {name}: {told}" for name, told in verdicts["subsets"].items())]
    blocks = [
        "\n".join(f"- {plain(line, _LONGEST)}" for line in lines),
        f"Measured by running the model with its gates and its audio changed, on {verdicts['queries']:,} "
        f"queries of {verdicts['videos']:,} videos. Every effect with its interval, and what was done, is in "
        f"{plain(f'{folder.name}/{REPORT}')}.",
    ]
    if warnings := [one for one in verdicts["warnings"] if one not in context.warnings]:
        blocks.append("\n".join(f"- ⚠ {plain(one, _LONGEST)}" for one in warnings))
    return Section(causes_chapter.heading, "\n\n".join(blocks), document={"ablation": verdicts})


def causes_answer(context: Context) -> str | None:
    """The same in the words of one answer; None where nothing was measured."""
    verdicts = context.once(_verdicts)
    return None if verdicts is None else " ".join(plain(line, _LONGEST) for line in verdicts["lines"])


def read_verdicts(run: Run, folder: Path) -> dict[str, Any]:
    """What the ablation in ``folder`` found.

    Raises :class:`~gatescope.runtime.errors.UsageError` where it is not finished, or of another model than
    ``run``.
    """
    document = _read(folder / DOCUMENT)
    sha256 = _of(document, "model").get("sha256")
    if sha256 != run.record.model.sha256:
        raise UsageError(
            f"{folder} holds an ablation of another model than the run's",
            received=f"SHA-256 {str(sha256)[:12]}…",
            expected=f"SHA-256 {run.record.model.sha256[:12]}…",
            fix="ablate the model that was run, or leave the ablation out",
        )
    told = _of(document, "verdicts")
    if not told:
        raise UsageError(
            f"{folder / DOCUMENT} was written by an earlier gatescope and has no verdicts",
            fix="run the same 'gatescope ablate' with --resume: it judges again without computing again",
        )
    return {
        "lines": [str(told[what]) for what in ("audio", "gates") if what in told],
        "subsets": {str(name): str(one) for name, one in _of(told, "subsets").items()},
        "queries": document.get("queries", 0),
        "videos": document.get("videos", 0),
        "warnings": [str(one) for one in document.get("warnings", [])],
    }


def _verdicts(context: Context) -> dict[str, Any] | None:
    folder = context.options.ablation
    return None if folder is None else read_verdicts(context.run, folder)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found: Any = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"{path} cannot be read as a finished ablation",
            received=why or type(error).__name__,
            expected="the folder that 'gatescope ablate' wrote to its end",
        ) from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} is not an ablation", received=type(found).__name__, expected="an object")
    return cast(dict[str, Any], found)


def _of(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _how(run: Run) -> str:
    """The command that measures it on the very model of ``run``."""
    text = "Not measured: what a gate does to the predictions shows only where it is changed."
    if not run.manifest.overrides or not run.record.predictions:
        return (
            f"{text} This model cannot be: `gatescope ablate` needs an export with predictions, gates and "
            "`--overridable`, as `gatescope report` makes it of a checkpoint that is rebuilt."
        )
    command = code(ablation_words(run.record, Path("ablation")))
    return f"{text} `gatescope report --ablate` does it on its own, or\n\n{command}"
