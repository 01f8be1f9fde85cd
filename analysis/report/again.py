"""The command that a report ends with: the one that makes it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ...runtime.files import local
from ...runtime.runs.reader import Run
from .context import AnalysisOptions
from .markdown import plain, shared_name
from .section import Section

HEADING = "The same again"
_LONGEST = 1000


def short_path(path: str | Path) -> str:
    """A path without the way to it: reports are shared, and home folders are private.

    Below the current folder it stays one that can be used there.
    """
    here, whole = Path.cwd(), local(path)
    if not whole.is_absolute():
        return str(path)
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else shared_name(whole)


def code(words: Sequence[str]) -> str:
    """A command ready to be copied; as text where something in it could end the code."""
    command = shlex.join(words)
    safe = command.isprintable() and "`" not in command
    return f"    {command}" if safe else plain(command, _LONGEST)


def again(words: Sequence[str]) -> Section:
    """The last section of a report."""
    text = (
        "In the folder that this was run in; of a path that lies outside it, only the last part is named.\n\n"
    )
    return Section(HEADING, text + code(words))


def analysis_words(
    runs: Sequence[tuple[str | None, Run]], options: AnalysisOptions, output: Path
) -> list[str]:
    """``gatescope analyze`` with everything that was chosen; runs by their names, None for one alone."""
    words = ["gatescope", "analyze"]
    for name, run in runs:
        words.append(short_path(run.path) if name is None else f"{name}={short_path(run.path)}")
    words += ["--output", short_path(output)]
    for flag, path in (
        ("--annotations", options.annotations),
        ("--training-predictions", options.training_predictions),
        ("--ablation", options.ablation),
    ):
        words += [] if path is None else [flag, short_path(path)]
    for name, file in options.subset_files.items():
        words += ["--subset", f"{name}={short_path(file)}"]
    for plugin in options.plugins:
        words += ["--plugin", short_path(plugin)]
    for sample in options.samples or ():
        words.append(f"--sample={sample}")
    words += ["--raw"] if options.raw else []
    return words + ([] if options.compare is None else ["--compare", *options.compare])
