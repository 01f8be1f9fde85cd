"""One run folder in, one folder with a report, its statistics and its figures out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runtime.errors import UsageError
from ..runtime.runs.atomic import write_together
from ..runtime.runs.reader import Run, open_run
from ..runtime.runs.schema import RUN_FILE
from .events.planted import planted_events
from .events.recovery import EventRecovery, recover_events, why_no_recovery
from .figures.events import event_figure
from .figures.layers import layer_figure
from .figures.overall import overall_figure
from .figures.patterns import pattern_figure
from .figures.style import png
from .report import events as event_report
from .report.document import statistics_document, to_json
from .report.markdown import counted
from .report.numbers import gate_numbers
from .report.provenance import provenance
from .report.reading import what_gates_cannot_say, what_gates_say
from .report.report import report
from .report.section import Section
from .report.warnings import run_warnings
from .statistics.patterns import sample_patterns
from .statistics.summary import GateSummary, summarise
from .statistics.videos import spread_over_videos, videos_of

REPORT = "ANALYSIS_REPORT.md"
STATISTICS = "overall_statistics.json"
OVERALL = "overall_statistics.png"
LAYERS = "layer_distributions.png"
PATTERNS = "activation_patterns.png"


@dataclass(frozen=True)
class AnalysisResult:
    """What an analysis found and where it lies.

    - ``files``: everything written, the report first. ``document``: the content of the JSON file.
    - ``warnings``: what to know before believing it, in plain text.
    - ``recovery``: the comparison with planted events, where the annotations name some.
    """

    output: Path
    files: tuple[Path, ...]
    summary: GateSummary
    document: dict[str, Any]
    warnings: tuple[str, ...]
    recovery: EventRecovery | None


def analyze_run(
    run: Run | str | Path,
    output: str | Path,
    *,
    annotations: str | Path | None = None,
    sections: Sequence[Section | tuple[str, str, Mapping[str, bytes]]] = (),
    progress: Callable[[], object] | None = None,
) -> AnalysisResult:
    """Analyse a run and write the report into the folder ``output``.

    The folder may exist: files of an earlier analysis are replaced, others are left alone. Nothing is
    written before everything is computed, and on a full disk nothing at all. An unfinished run is analysed
    as far as it goes, with a warning.

    - ``annotations``: a JSONL file; where its lines have ``gatescope_events`` (indices of the clips in which
      an audio event is known to be), the report says how well the gates find them.
    - ``sections``: (title, Markdown, PNG files by name), appended to the report.
    - ``progress``: called twice a sample.

    Raises :class:`~gatescope.runtime.errors.RunFolderError` for a folder that is no run or has no gates,
    :class:`~gatescope.runtime.errors.UsageError` for an output that cannot hold a report, and
    :class:`~gatescope.runtime.errors.DatasetError` for annotations that cannot be read.
    """
    run = run if isinstance(run, Run) else open_run(run)
    folder = Path(output)
    _check_output(folder)
    events = None if annotations is None else planted_events(Path(annotations))

    summary = summarise(run, progress=progress)
    videos = videos_of(run.samples.collect())
    spread = spread_over_videos(summary.per_sample, videos)
    warnings = run_warnings(run, summary)
    recovery, event_sections = None, list[Section]()
    if events:  # ordinary annotations name none, and a report on them has nothing to say of events
        recovery, section = _events(run, events)
        event_sections.append(section)
    document = statistics_document(
        summary, spread, videos["vid"].n_unique(), finished=run.finished, warnings=warnings, recovery=recovery
    )
    chapters = [
        gate_numbers(summary, spread)._replace(figures=_overall(summary)),
        what_gates_say(summary, spread),
        what_gates_cannot_say(summary),
        Section("Layers and samples in pictures", "", _pictures(summary)),
        *event_sections,
        *(Section(*section) for section in sections),
        provenance(run, summary, document["total_videos"]),
    ]
    contents = {REPORT: report(warnings, chapters).encode(), STATISTICS: to_json(document).encode()}
    for chapter in chapters:
        for name, image in chapter.figures.items():
            if name in contents or Path(name).name != name:
                raise ValueError(f"a section's figure cannot be called '{name}'")
            contents[name] = image
    files = _write(folder, contents)
    return AnalysisResult(folder, files, summary, document, tuple(warnings), recovery)


def _check_output(folder: Path) -> None:
    if (folder / RUN_FILE).exists():
        raise UsageError(
            f"{folder} holds a run; a report would mix with it",
            fix="choose another folder for --output",
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", expected="a folder, or a name that is free")


def _events(run: Run, events: Mapping[str, frozenset[int]]) -> tuple[EventRecovery | None, Section]:
    if reason := why_no_recovery(run, events):
        return None, Section(event_report.TITLE, f"Not computed. {reason}")
    recovery = recover_events(run, events)
    figure = event_figure(
        recovery.gates,
        recovery.curves,
        recovery.example,
        recovery.example_id,
        event_report.compared(recovery),
    )
    return recovery, event_report.event_section(recovery, png(figure))


def _overall(summary: GateSummary) -> dict[str, bytes]:
    return {
        OVERALL: png(
            overall_figure(summary.overall, summary.by_layer, summary.distribution, _subtitle(summary))
        )
    }


def _pictures(summary: GateSummary) -> dict[str, bytes]:
    subtitle = _subtitle(summary)
    patterns = sample_patterns(summary.per_sample)
    return {
        LAYERS: png(layer_figure(summary.by_layer, summary.distribution, subtitle)),
        PATTERNS: png(pattern_figure(patterns, summary.ranges, subtitle)),
    }


def _subtitle(summary: GateSummary) -> str:
    layers, samples = counted(len(summary.layers), "layer"), counted(summary.samples, "sample")
    return f"{summary.gating.capitalize()} gating, {layers}, {samples}."


def _write(folder: Path, contents: Mapping[str, bytes]) -> tuple[Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    write_together(folder, contents)
    if event_report.FIGURE not in contents:  # an earlier report's, which this one does not speak of
        (folder / event_report.FIGURE).unlink(missing_ok=True)
    return tuple(folder / name for name in contents)
