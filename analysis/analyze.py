"""One run in, one folder with a report, its statistics and its figures out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..runtime.brief import counted, one_line
from ..runtime.data.subsets import read_subsets, subset_files
from ..runtime.errors import UsageError
from ..runtime.files import local
from ..runtime.runs.reader import Run, open_run
from ..runtime.runs.schema import RUN_FILE
from .chapters import CHAPTERS
from .evaluation.known import evaluation_of
from .plugins.loading import plugins_of
from .relations.relations import relations_of
from .report.again import again, analysis_words
from .report.chapter import Place
from .report.context import AnalysisOptions, Context
from .report.document import statistics_document, to_json
from .report.earlier import earlier_weighting
from .report.folder import is_inside, write_report
from .report.html.page import page
from .report.html.payload import payload
from .report.markdown import shared_name
from .report.report import TITLE, report
from .report.section import Section
from .report.steps import Progress, Steps, reading_steps
from .statistics.summary import GateSummary
from .timelines.timeline import timelines_of

REPORT = "ANALYSIS_REPORT.md"
PAGE = "report.html"
STATISTICS_FILE = "overall_statistics.json"


@dataclass(frozen=True)
class AnalysisResult:
    """What an analysis found and where it lies.

    - ``files``: everything written, the report first. ``document``: the content of the JSON file.
    - ``warnings``: what to know before believing it, in plain text.
    """

    output: Path
    files: tuple[Path, ...]
    summary: GateSummary
    document: dict[str, Any]
    warnings: tuple[str, ...]

    @property
    def page(self) -> Path:
        """The report as one page that a browser opens."""
        return self.output / PAGE

    def __repr__(self) -> str:
        warned = counted(len(self.warnings), "warning") if self.warnings else ""
        samples = counted(self.summary.samples, "sample")
        return one_line(self, str(self.page), samples, counted(len(self.files), "file"), warned)

    def _repr_html_(self) -> str:
        """In a notebook: a link to the report, and what to know before believing it."""
        link = quote(os.path.relpath(self.page))  # a notebook opens what lies below its own folder
        warned = "".join(f"<li>{escape(warning)}</li>" for warning in self.warnings)
        told = f'<a href="{link}" target="_blank">{escape(str(self.page))}</a>'
        samples = counted(self.summary.samples, "sample")
        return f"<p>{told}: {samples}</p>" + (f"<ul>{warned}</ul>" if warned else "")


def analyze_run(
    run: Run | str | Path,
    output: str | Path,
    *,
    annotations: str | Path | None = None,
    subsets: Sequence[str] = (),
    training_predictions: str | Path | None = None,
    ablation: str | Path | None = None,
    options: AnalysisOptions | None = None,
    sections: Sequence[Section | tuple[str, str, Mapping[str, bytes]]] = (),
    progress: Progress | None = None,
) -> AnalysisResult:
    """Analyse a run and write the report into the folder ``output``.

    The folder may exist: files of an earlier analysis are replaced or removed, others are left alone. Nothing
    appears before everything is computed, and on a full disk nothing at all. An unfinished run is analysed
    as far as it goes, with a warning.

    - ``annotations``: a JSONL file; where its lines have ``gatescope_events`` (indices of the clips in which
      an audio event is known to be), the report says how well the gates find them.
    - ``subsets``: specifications NAME=FILE, see :func:`~gatescope.runtime.data.subsets.read_subsets`.
    - ``training_predictions``: the file training left, whose metrics then stand next to the run's.
      ``ablation``: the folder of a finished ablation of the same model, whose verdicts the report then has.
    - ``options``: in place of these four, with more to choose; with one of them it is refused.
    - ``sections``: (title, Markdown, PNG files by name), appended to the report.
    - ``progress``: called with how many steps are done and how many there are as far as is known: three per
      sample (four with statistics of the user's own), and one for each that is shown by itself. That those
      are to come is known only once they are chosen: the total grows then.

    Raises :class:`~gatescope.runtime.errors.RunFolderError` for a folder that is no run or has no gates,
    :class:`~gatescope.runtime.errors.UsageError` for an output that cannot hold a report, and
    :class:`~gatescope.runtime.errors.DatasetError` for annotations that cannot be read, and what
    :func:`~gatescope.analysis.plugins.loading.load_plugins` raises.
    """
    run = run if isinstance(run, Run) else open_run(run)
    folder = local(output)
    _check_output(folder)
    alone = {
        "annotations": annotations,
        "subsets": subsets or None,
        "training_predictions": training_predictions,
        "ablation": ablation,
    }
    if options is not None and (twice := [name for name, value in alone.items() if value is not None]):
        raise UsageError(
            f"{' and '.join(twice)} would be ignored next to options",
            expected="everything in options, or none of it",
            fix=f"give AnalysisOptions({twice[0]}=…, …)",
        )
    steps = Steps(progress)
    chosen = options or AnalysisOptions(
        annotations=None if annotations is None else local(annotations),
        subsets=read_subsets(subsets, run.samples.collect()["qid"]),
        subset_files=subset_files(subsets),
        training_predictions=None if training_predictions is None else local(training_predictions),
        ablation=None if ablation is None else local(ablation),
    )
    context = Context(run, chosen, steps)
    for chapter in CHAPTERS:  # first: an option that cannot be used should not cost minutes
        chapter.check(context)
    steps.expect(reading_steps(run, statistics=bool(context.once(plugins_of).statistics)))

    summary = context.summary
    written: list[tuple[Place, Section]] = [
        (chapter.on_page, section) for chapter in CHAPTERS if (section := chapter(context)) is not None
    ]
    written[-1:-1] = [("chapter", _as_section(section)) for section in sections]
    if run.manifest.format != "live":  # of a live model there is no folder that a command could read
        written.append(("chapter", again(analysis_words([(None, run)], chosen, folder))))
    parts = [section for _, section in written]
    document = statistics_document(
        summary, context.spread, context.video_count, finished=run.finished, warnings=context.warnings
    )
    if (weighted := earlier_weighting(summary, context.queries)) is not None:
        document["earlier_weighting"] = weighted
    for section in parts:
        document |= section.document
    contents = {
        REPORT: report(context.warnings, parts).encode(),
        PAGE: _page(context, written).encode(),
        STATISTICS_FILE: to_json(document).encode(),
    }
    for section in parts:
        for name, content in (*section.figures.items(), *section.files.items()):
            if name in contents or not is_inside(name):
                raise ValueError(f"a section's file cannot be called '{name}'")
            contents[name] = content
    files = write_report(folder, contents, chain.from_iterable(section.stream for section in parts))
    return AnalysisResult(folder, files, summary, document, context.warnings)


def _page(context: Context, written: Sequence[tuple[Place, Section]]) -> str:
    summary, levels = context.summary, context.once(relations_of).levels
    evaluation = context.once(evaluation_of)
    per_query = None if evaluation is None else evaluation.per_query
    data = payload(summary, context.queries, levels, context.texts, context.once(timelines_of), per_query)
    videos = counted(context.video_count, "video")
    where = f"{context.subtitle} {videos}. Model: {shared_name(context.run.record.model.path)}"
    first = [one for place, one in written if place == "first screen"]
    chapters = [
        one._replace(figures={}) if place == "drawn by the page" else one
        for place, one in written
        if place != "first screen"
    ]
    return page(first, chapters, data, levels, title=TITLE, subtitle=where, warnings=context.warnings)


def _as_section(given: Section | tuple[str, str, Mapping[str, bytes]]) -> Section:
    return given if isinstance(given, Section) else Section(*given)


def _check_output(folder: Path) -> None:
    if (folder / RUN_FILE).exists():
        raise UsageError(
            f"{folder} holds a run; a report would mix with it",
            fix="choose another folder for --output",
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", expected="a folder, or a name that is free")
