"""What a training's results folder is: the checkpoint taken, and what else of it was found."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from ..runtime.errors import CheckpointError
from ..runtime.files import local
from ..runtime.inspection.identify import ResultsOptions
from ..runtime.inspection.inspection import InspectedRow, InspectedSection, Inspection
from .inspect import inspect_checkpoint
from .reading.results import ResultsFolder, checkpoints_in, open_results


def inspect_results(path: str | Path, options: ResultsOptions | None = None) -> Inspection:
    """What the results folder at ``path`` holds, and the checkpoint taken from it; nothing is executed.

    A folder whose checkpoint cannot be read comes
    back with the reason, and the names of the others, as a problem.
    """
    folder, wanted = local(path), options or ResultsOptions()
    try:
        results = open_results(
            folder,
            checkpoint=wanted.checkpoint,
            annotations=wanted.annotations,
            sources=wanted.sources,
            root=wanted.root,
        )
    except CheckpointError as error:
        names = [one.name for one in checkpoints_in(folder)]
        return Inspection(
            folder,
            "results",
            "cannot be used",
            problems=(str(error),),
            details={"checkpoints": names},
        )
    inside = inspect_checkpoint(results.checkpoint)
    own = InspectedSection("Results folder", tuple(_row(line) for line in results.said))
    # Where an export by itself is refused, the code that trained it may build the model.
    with_code = bool(inside.problems and inside.commands and results.code is not None)
    return replace(
        inside,
        path=folder,
        kind="results",
        sections=(own, *inside.sections),
        commands=(_report(results, with_code=with_code),) if inside.usable or with_code else inside.commands,
        details={**inside.details, **_details(results)},
    )


def _row(line: str) -> InspectedRow:
    name, _, value = line.partition(": ")
    return InspectedRow(name, value)


def _report(results: ResultsFolder, *, with_code: bool) -> str:
    """The command that goes on from here; with what has to be said because it was not found."""
    words = ["gatescope report", shlex.quote(str(results.folder))]
    if results.checkpoint != results.checkpoints[0]:
        words += ["--checkpoint", shlex.quote(results.checkpoint.name)]
    if results.annotations is None:
        words += ["--annotations val.jsonl"]
    if not results.sources.complete:
        words += ["--features features/"]
    return " ".join([*words, "--code"] if with_code else words)


def _details(results: ResultsFolder) -> dict[str, object]:
    left, sources = results.left, results.sources
    return {
        "checkpoint": str(results.checkpoint),
        "checkpoints": [path.name for path in results.checkpoints],
        "annotations": None if results.annotations is None else str(results.annotations),
        "video_features": [str(folder) for folder in sources.video],
        "audio_features": None if sources.audio is None else str(sources.audio),
        "text_features": None if sources.text is None else str(sources.text),
        "not_here": dict(results.missing),
        "predictions": None if left.predictions is None else str(left.predictions),
        "metrics": None if left.metrics is None else str(left.metrics),
        "code": None if results.code is None else str(results.code),
    }
