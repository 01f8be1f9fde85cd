"""The whole path of a run: annotations → features → batches → gates and predictions → run folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from ..data.annotations import read_annotations
from ..data.folders import FeatureFolders
from ..data.selection import select
from ..errors import UsageError
from ..files import local
from ..runs.coverage import shortfall_texts
from ..runs.folder import earlier_run, writing
from ..runs.info import FileRef, RunInfo, Selection, Skipped
from ..runs.provenance import feature_ref, file_ref
from ..runs.stopwatch import RunClock
from ..runs.writer import samples_per_part
from ..session.model_file import read_manifest
from ..session.session import GateSession
from .loop import run_parts
from .opening import Opening
from .plan import begin_run, resume_run

_log = logging.getLogger("gatescope")

_PREDICTIONS = ("pred_logits", "pred_spans", "saliency_scores")


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
    model: str | Path,
    annotations: str | Path,
    features: str | Path | None,
    output: str | Path,
    *,
    video_features: Sequence[str | Path] | None = None,
    audio_features: str | Path | None = None,
    text_features: str | Path | None = None,
    device: str = "auto",
    tf32: bool = False,
    cuda_graphs: bool = False,
    batch_size: int = 32,
    max_samples: int | None = None,
    sample_ids: Sequence[str] | None = None,
    skip_bad: bool = False,
    resume: bool = False,
) -> RunResult:
    """Open the exported ``model`` on ``device`` and run it on a dataset; the rest as :func:`run_dataset`.

    ``device``, ``tf32`` and ``cuda_graphs`` are those of
    :class:`~gatescope.runtime.session.session.GateSession`.
    """
    path = local(model)
    with ExitStack() as stack:

        def open_session() -> GateSession:
            session = GateSession(path, device=device, tf32=tf32, cuda_graphs=cuda_graphs)
            return stack.enter_context(session)

        return _run(
            Opening(path, read_manifest(path), open_session),
            annotations,
            features,
            output,
            video_features=video_features,
            audio_features=audio_features,
            text_features=text_features,
            batch_size=batch_size,
            max_samples=max_samples,
            sample_ids=sample_ids,
            skip_bad=skip_bad,
            resume=resume,
        )


def run_dataset(
    session: GateSession,
    annotations: str | Path,
    features: str | Path | None,
    output: str | Path,
    *,
    video_features: Sequence[str | Path] | None = None,
    audio_features: str | Path | None = None,
    text_features: str | Path | None = None,
    batch_size: int = 32,
    max_samples: int | None = None,
    sample_ids: Sequence[str] | None = None,
    skip_bad: bool = False,
    resume: bool = False,
) -> RunResult:
    """Run every query of ``annotations`` and write the run folder ``output``.

    What the model gives is stored: predictions, gates, in-graph statistics. Where it ends at gates that
    depend on the video alone, each video is computed once for all its queries, in the order in which they
    first name it; no text features are looked for.

    - ``features``: the folder that holds one folder per source; explicit folders override it.
    - ``sample_ids``, ``max_samples``: only these qids, only the first so many. Batches form over the queries
      chosen, in file order; a model in reference batching gives the numbers of exactly these batches.
    - ``skip_bad``: leave out samples whose features cannot be used instead of stopping before anything is
      written. ``resume``: go on with the unfinished run in ``output``; where there is none, start one.

    Features are read ahead, and finished parts written, while the model computes. Memory is bounded by a few
    batches, three parts of the gate table, and less than a kilobyte a query. An interruption, and whatever
    goes wrong on the way, leaves a run that can be resumed. Raises what :func:`read_annotations`,
    :meth:`FeatureFolders.find` and :func:`earlier_run` raise,
    :class:`~gatescope.runtime.errors.BadSamplesError`, :class:`~gatescope.runtime.errors.DatasetError` where
    features change meanwhile, and :class:`~gatescope.runtime.errors.RunFolderError` where the folder cannot
    be written.
    """
    return _run(
        Opening(session.path, session.manifest, lambda: session),
        annotations,
        features,
        output,
        video_features=video_features,
        audio_features=audio_features,
        text_features=text_features,
        batch_size=batch_size,
        max_samples=max_samples,
        sample_ids=sample_ids,
        skip_bad=skip_bad,
        resume=resume,
    )


def _run(
    opening: Opening,
    annotations: str | Path,
    features: str | Path | None,
    output: str | Path,
    *,
    video_features: Sequence[str | Path] | None,
    audio_features: str | Path | None,
    text_features: str | Path | None,
    batch_size: int,
    max_samples: int | None,
    sample_ids: Sequence[str] | None,
    skip_bad: bool,
    resume: bool,
) -> RunResult:
    if batch_size < 1:
        raise UsageError("--batch-size must be at least 1", received=str(batch_size))
    folder, clock = local(output), RunClock()
    with ExitStack() as stack:
        with writing(folder):
            earlier = earlier_run(folder, stack, resume=resume)
        manifest = opening.manifest
        queries = select(read_annotations(annotations), max_samples=max_samples, sample_ids=sample_ids)
        folders = FeatureFolders.find(
            manifest, features, video=video_features, audio=audio_features, text=text_features
        )
        draft = RunInfo(
            model=FileRef(str(opening.path), ""),
            manifest=manifest,
            annotations=file_ref(local(annotations)),
            features=feature_ref(folders),
            selection=Selection(max_samples, None if sample_ids is None else tuple(sorted(set(sample_ids)))),
            batch_size=batch_size,
            device="",
            samples=len(queries),
            samples_per_part=samples_per_part(manifest, batch_size),
            predictions=set(_PREDICTIONS) <= set(manifest.output_names),
            versions={},
            gates=bool(manifest.tracked_kinds),
            summaries=bool(manifest.summaries),
        )
        draft = replace(draft, per_video=not draft.predictions and not manifest.depends_on_text)
        _refuse_nothing(draft)
        _warn_of_batching(draft)
        if earlier is None:
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


def _refuse_nothing(info: RunInfo) -> None:
    if not (info.predictions or info.gates or info.summaries):
        raise UsageError(
            f"{info.model.path} gives nothing that a run could store",
            received=f"outputs {', '.join(info.manifest.output_names)}",
            expected=f"gates, gate statistics, or {', '.join(_PREDICTIONS)}",
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
