"""The whole path of a run: annotations → features → batches → gates and predictions → run folder."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from ..data.dataset import AnyPath, Dataset
from ..data.folders import FeatureFolders
from ..errors import UsageError
from ..files import local
from ..gates.vocabulary import PREDICTIONS
from ..runs.coverage import shortfall_texts
from ..runs.folder import earlier_run, writing
from ..runs.info import FileRef, RunInfo, Skipped
from ..runs.provenance import feature_ref, file_ref
from ..runs.stopwatch import RunClock
from ..runs.writer import samples_per_part
from ..session.model_file import read_manifest
from .loop import run_parts
from .opening import Opening
from .plan import begin_run, resume_run
from .settings import RunOptions, RunSettings, split_options

_log = logging.getLogger("gatescope")


@dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    - ``samples``: how many were computed: queries, or videos where ``per_video``. ``queries``: how many they
      answer. ``skipped``: samples left out, and why.
    - ``coverage``: one sentence per kind of sample whose features or windows do not cover its video.
    - ``stored``: what was written: ``predictions``, ``gates``, ``gate statistics``.
    - ``seconds``: by the clock on the wall, the pass that checks the features and earlier sittings of a
      resumed run included; ``samples_per_second`` follows from it.
    - ``was_finished``: nothing was left to do for ``resume``.
    """

    output: Path
    samples: int
    skipped: tuple[Skipped, ...]
    seconds: float
    samples_per_second: float
    queries: int
    per_video: bool
    stored: tuple[str, ...]
    was_finished: bool = False
    coverage: tuple[str, ...] = ()


def run_model(
    model: AnyPath,
    annotations: AnyPath,
    features: AnyPath | None,
    output: AnyPath,
    **options: Unpack[RunOptions],
) -> RunResult:
    """:func:`run_dataset` with keywords in place of objects: ``device``, ``max_samples``, …"""
    dataset, settings = split_options(annotations, features, options)
    return run_dataset(model, dataset, output, settings)


def run_dataset(
    model: AnyPath, dataset: Dataset, output: AnyPath, settings: RunSettings | None = None
) -> RunResult:
    """Run the exported ``model`` on every query of ``dataset`` and write the run folder ``output``.

    What the model gives is stored: predictions, gates, in-graph statistics. Where it ends at gates that
    depend on the video alone, each video is computed once for all its queries, in the order in which they
    first name it; no text features are looked for. Batches form over the queries chosen, in file order; a
    model in reference batching gives the numbers of exactly these batches.

    Features are read ahead, and finished parts written, while the model computes. Memory is bounded by a few
    batches, three parts of the gate table, and less than a kilobyte per query. An interruption, and whatever
    goes wrong on the way, leaves a run that can be resumed. Raises what :meth:`Dataset.queries`,
    :meth:`FeatureSources.find` and :func:`earlier_run` raise,
    :class:`~gatescope.runtime.errors.BadSamplesError`, :class:`~gatescope.runtime.errors.DatasetError` where
    features change meanwhile, and :class:`~gatescope.runtime.errors.RunFolderError` where the folder cannot
    be written.
    """
    path, folder, wanted, clock = local(model), local(output), settings or RunSettings(), RunClock()
    with ExitStack() as stack:
        manifest = read_manifest(path)
        opening = Opening(path, manifest, lambda: stack.enter_context(wanted.open(path)))
        with writing(folder):
            earlier = earlier_run(folder, stack, resume=wanted.resume)
        queries = dataset.queries()
        folders = dataset.sources.find(manifest)
        draft = _draft(opening, dataset, folders, wanted, len(queries))
        _refuse_nothing(draft)
        _warn_of_batching(draft)
        if earlier is None:
            skip_bad = dataset.skip_bad
            plan = begin_run(folder, stack, draft, opening, folders, queries, clock, skip_bad=skip_bad)
        else:
            opening.work()
            opening.complete(draft).check_continues(earlier, folder)
            if earlier.finished:
                return run_result(folder, earlier, was_finished=True)
            clock.continue_from(earlier.timings)
            plan = resume_run(folder, earlier, folders, queries, clock)
        run_parts(opening.session, plan, folders, clock)
        with writing(folder):
            return run_result(folder, plan.writer.finish(clock.timings(len(plan.samples))))


def _draft(
    opening: Opening, dataset: Dataset, folders: FeatureFolders, settings: RunSettings, queries: int
) -> RunInfo:
    """``run.json`` as far as it is known before the model is open."""
    manifest, batch_size = opening.manifest, settings.samples_per_batch
    draft = RunInfo(
        model=FileRef(str(opening.path), ""),
        manifest=manifest,
        annotations=file_ref(dataset.annotations),
        features=feature_ref(folders),
        selection=dataset.selection,
        batch_size=batch_size,
        device="",
        samples=queries,
        samples_per_part=samples_per_part(manifest, batch_size),
        predictions=set(PREDICTIONS) <= set(manifest.output_names),
        versions={},
        gates=bool(manifest.tracked_kinds),
        summaries=bool(manifest.summaries),
    )
    return replace(draft, per_video=not draft.predictions and not manifest.depends_on_text)


def _refuse_nothing(info: RunInfo) -> None:
    if not (info.predictions or info.gates or info.summaries):
        raise UsageError(
            f"{info.model.path} gives nothing that a run could store",
            received=f"outputs {', '.join(info.manifest.output_names)}",
            expected=f"gates, gate statistics, or {', '.join(PREDICTIONS)}",
        )


def run_result(folder: Path, info: RunInfo, *, was_finished: bool = False) -> RunResult:
    """What the run folder ``folder`` holds, as its ``info`` says."""
    return RunResult(
        output=folder,
        samples=info.samples,
        skipped=info.skipped,
        seconds=info.timings.seconds,
        samples_per_second=info.timings.samples_per_second,
        queries=info.samples if info.queries is None else info.queries,
        per_video=info.per_video,
        stored=tuple(
            name
            for name, there in (
                ("predictions", info.predictions),
                ("gates", info.gates),
                ("gate statistics", info.summaries),
            )
            if there
        ),
        was_finished=was_finished,
        coverage=tuple(shortfall_texts(info.coverage, info.samples, info.manifest.preprocessing)),
    )


def _warn_of_batching(info: RunInfo) -> None:
    trained = info.manifest.eval_batch_size
    if info.manifest.batching == "reference" and trained is not None and trained != info.batch_size:
        _log.warning(
            "this model reproduces the training code's batched numbers, and training evaluated with batches "
            "of %d, not %d: pass --batch-size %d to get its numbers",
            trained,
            info.batch_size,
            trained,
        )
