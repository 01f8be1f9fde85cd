"""Several runs in, one folder out: each run's own report, and a comparison of their gates and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from ...runtime.brief import brief
from ...runtime.errors import NoGroundTruthError, UsageError
from ...runtime.files import local
from ...runtime.runs.atomic import write_together
from ...runtime.runs.reader import Run, open_run
from ...runtime.runs.schema import RUN_FILE
from ..analyze import REPORT as OWN_REPORT
from ..analyze import AnalysisResult, analyze_run
from ..evaluation.evaluate import Evaluation, evaluate_run
from ..evaluation.ground_truth import GroundTruth, read_ground_truth
from ..figures.runs import runs_figure
from ..figures.style import png
from ..plugins.loading import load_plugins
from ..report.again import again, analysis_words
from ..report.context import AnalysisOptions
from ..report.document import to_json
from ..report.steps import Progress, after, reading_steps
from ..samples.choice import ALL, asked_for, known_to
from ..statistics.videos import videos_of
from .report import COMPARISON_FIGURE, comparison_report
from .run_gates import compare_gates
from .run_metrics import compare_metrics
from .runs import chosen_names, comparison_warnings, differing_settings

REPORT, DOCUMENT = "COMPARISON.md", "comparison.json"


@dataclass(frozen=True)
class ComparisonResult:
    """What a comparison found and where it lies.

    - ``files``: everything written, the comparison first, then the reports of the runs. ``document``: the
      content of ``comparison.json``. ``runs``: each run's own analysis, by its name.
    - ``gates``, ``metrics``: see :func:`~gatescope.analysis.comparison.run_gates.compare_gates` and
      :func:`~gatescope.analysis.comparison.run_metrics.compare_metrics`; ``metrics`` is empty without ground
      truth.
    - ``warnings``: what to know before believing it, in plain text.
    """

    output: Path
    files: tuple[Path, ...]
    runs: dict[str, AnalysisResult]
    gates: pl.DataFrame
    metrics: pl.DataFrame
    document: dict[str, Any]
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        return brief(self)


def compare_runs(
    runs: Sequence[Run | str | Path],
    output: str | Path,
    *,
    names: Sequence[str | None] | None = None,
    options: AnalysisOptions | None = None,
    progress: Progress | None = None,
) -> ComparisonResult:
    """Analyse two or more runs and set them beside each other; the first one is what the others are compared
    with.

    ``output`` gets ``COMPARISON.md``, ``comparison.json`` and ``run_comparison.png``, and a folder for each
    run with the report of :func:`~gatescope.analysis.analyze.analyze_run`, which takes ``options`` and
    ``progress``. ``names``: what each run is called, None for a name from its path. Runs of different models,
    gatings, layers or samples are compared as far as they have something in common, and the report says what
    differs. Raises :class:`~gatescope.runtime.errors.UsageError` for fewer than two runs, the same run twice,
    a name that cannot name a folder or an output that cannot hold a report, and what ``analyze_run`` raises.
    """
    opened = [run if isinstance(run, Run) else open_run(run) for run in runs]
    folder, chosen = local(output), options or AnalysisOptions()
    _check(opened, folder)
    names = chosen_names([run.path for run in opened], names or [None] * len(opened))
    truth = _ground_truth(chosen.annotations)
    asked = tuple(one for one in chosen.samples or () if one != ALL)
    asked_for((*asked, *(chosen.compare or ())), pl.concat(run.samples.collect() for run in opened))
    results: dict[str, AnalysisResult] = {}
    extra = bool(load_plugins(chosen.plugins).statistics)
    reading = [reading_steps(run, statistics=extra) for run in opened]
    finished = 0

    def told(done: int, total: int) -> None:
        nonlocal finished
        finished = done
        if progress is not None:
            progress(done, total)

    evaluations: dict[str, Evaluation] = {}
    for place, (name, run) in enumerate(zip(names, opened, strict=True)):
        qids = frozenset(run.samples.select("qid").collect()["qid"])
        own = {subset: ids for subset, ids in chosen.subsets.items() if ids & qids}
        results[name] = analyze_run(
            run,
            folder / name,
            options=_known(replace(chosen, subsets=own), run),
            progress=after(finished, sum(reading[place + 1 :]), told),
        )
        if truth is not None and run.record.predictions:
            evaluations[name] = evaluate_run(run, truth, allow_missing=True)
    videos = [videos_of(run.samples.collect()) for run in opened]
    gates = compare_gates(names, [result.summary for result in results.values()], videos)
    metrics = compare_metrics({name: one.per_query for name, one in evaluations.items()})
    warnings = tuple(comparison_warnings(names, opened, gates, evaluations))
    settings = differing_settings(opened)
    document = _document(names, opened, results, evaluations, gates, metrics, settings, warnings)
    text = comparison_report(names, opened, gates, metrics, settings, warnings, OWN_REPORT)
    last = again(analysis_words([*zip(names, opened, strict=True)], chosen, folder))
    contents = {
        REPORT: f"{text}\n## {last.title}\n\n{last.text}\n".encode(),
        DOCUMENT: to_json(document).encode(),
        COMPARISON_FIGURE: png(runs_figure(gates.filter(statistic="mean"), metrics, names)),
    }
    write_together(folder, contents)
    files = [folder / name for name in contents]
    files += [path for result in results.values() for path in result.files]
    return ComparisonResult(folder, tuple(files), results, gates, metrics, document, warnings)


def _known(options: AnalysisOptions, run: Run) -> AnalysisOptions:
    """``options`` without the samples that are only in other runs."""
    queries = run.samples.collect()
    samples = None if options.samples is None else known_to(options.samples, queries)
    compare = options.compare
    if compare:  # none of them is not the first five
        compare = known_to(compare, queries) or None
    return replace(options, samples=samples, compare=compare)


def _check(runs: Sequence[Run], folder: Path) -> None:
    if len(runs) < 2:
        raise UsageError("a comparison needs two runs", received=f"{len(runs)}")
    places = [run.path.resolve() for run in runs]
    if repeated := [place for place in dict.fromkeys(places) if places.count(place) > 1]:
        raise UsageError("a run is given twice", received=str(repeated[0]), expected="different runs")
    if (folder / RUN_FILE).exists():
        raise UsageError(
            f"{folder} holds a run; a report would mix with it", fix="choose another folder for --output"
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", expected="a folder, or a name that is free")


def _ground_truth(annotations: Path | None) -> GroundTruth | None:
    if annotations is None:
        return None
    try:
        return read_ground_truth(annotations)
    except NoGroundTruthError:
        return None


def _document(
    names: Sequence[str],
    runs: Sequence[Run],
    results: dict[str, AnalysisResult],
    evaluations: dict[str, Evaluation],
    gates: pl.DataFrame,
    metrics: pl.DataFrame,
    settings: Sequence[tuple[str, tuple[str, ...]]],
    warnings: Sequence[str],
) -> dict[str, Any]:
    return {
        "reference": names[0],
        "runs": {
            name: {
                "path": str(run.path),
                "finished": run.finished,
                "gating_type": run.manifest.gating,
                "num_layers": len(results[name].summary.layers),
                "total_samples": results[name].summary.samples,
                "metrics": evaluations[name].metrics if name in evaluations else None,
            }
            for name, run in zip(names, runs, strict=True)
        },
        "settings_that_differ": {what: dict(zip(names, told, strict=True)) for what, told in settings},
        "gates": gates.to_dicts(),
        "metrics": metrics.to_dicts(),
        "warnings": list(warnings),
    }
