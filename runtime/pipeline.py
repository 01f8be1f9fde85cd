"""The straight path of a run: annotations → features → batches → gates and predictions → run folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from .data.annotations import Annotation, read_annotations
from .data.batches import grouped, read_batch
from .data.check import check_samples
from .data.features import FeatureReader
from .data.folders import FeatureFolders
from .data.selection import select
from .errors import BadSamplesError, DatasetError, RunFolderError, UsageError
from .predictions import format_prediction, prediction_line
from .progress import progress
from .provenance import feature_ref, file_ref, versions
from .runs.folder import claim_new, earlier_run, writing
from .runs.info import RunInfo, Selection, Skipped
from .runs.reader import planned_samples
from .runs.schema import SAMPLES_SCHEMA
from .runs.stopwatch import Stopwatch
from .runs.table import SampleGates, cut_sample
from .runs.writer import RunWriter, samples_per_part
from .session import GateSession, Outputs

_log = logging.getLogger("gatescope")

_PREDICTIONS = ("pred_logits", "pred_spans", "saliency_scores")


@dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    - ``samples``: how many were run. ``skipped``: those left out, and why.
    - ``seconds``: time spent reading, computing and writing, earlier sittings of a resumed run included;
      ``samples_per_second`` follows from it.
    - ``was_finished``: nothing was left to do for ``resume``.
    """

    output: Path
    samples: int
    skipped: tuple[Skipped, ...]
    seconds: float
    samples_per_second: float
    was_finished: bool = False


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
    batch_size: int = 32,
    max_samples: int | None = None,
    sample_ids: Sequence[str] | None = None,
    skip_bad: bool = False,
    resume: bool = False,
) -> RunResult:
    """Open the exported ``model`` on ``device`` and run it on a dataset; the rest as :func:`run_dataset`."""
    with GateSession(model, device=device) as session:
        return run_dataset(
            session,
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

    - ``features``: the folder that holds one folder per source; explicit folders override it.
    - ``sample_ids``, ``max_samples``: only these qids, only the first so many. Batches form over the queries
      chosen, in file order; a model in reference batching gives the numbers of exactly these batches.
    - ``skip_bad``: leave out samples whose features cannot be used instead of stopping before anything is
      written. ``resume``: go on with the unfinished run in ``output``; where there is none, start one.

    Memory is bounded by one part of the gate table, whatever the number of queries. An interruption
    leaves a run that can be resumed. Raises what :func:`read_annotations`, :meth:`FeatureFolders.find` and
    :func:`earlier_run` raise, :class:`~gatescope.runtime.errors.BadSamplesError`, and
    :class:`~gatescope.runtime.errors.RunFolderError` where the folder cannot be written.
    """
    if batch_size < 1:
        raise UsageError("--batch-size must be at least 1", received=str(batch_size))
    folder = Path(output)
    with ExitStack() as stack:
        with writing(folder):
            earlier = earlier_run(folder, stack, resume=resume)
        queries = select(read_annotations(annotations), max_samples=max_samples, sample_ids=sample_ids)
        folders = FeatureFolders.find(
            session.manifest, features, video=video_features, audio=audio_features, text=text_features
        )
        info = RunInfo(
            model=file_ref(session.path),
            manifest=session.manifest,
            annotations=file_ref(Path(annotations)),
            features=feature_ref(folders),
            selection=Selection(max_samples, None if sample_ids is None else tuple(sorted(set(sample_ids)))),
            batch_size=batch_size,
            device=session.device,
            samples=len(queries),
            samples_per_part=samples_per_part(session.manifest, batch_size),
            predictions=set(_PREDICTIONS) <= set(session.manifest.output_names),
            versions=versions(session.versions),
        )
        _warn_of_batching(info)
        if earlier is None:
            writer, queries, clips = _begin(folder, stack, info, folders, queries, skip_bad=skip_bad)
        else:
            info.check_continues(earlier, folder)
            if earlier.finished:
                return _result(folder, earlier, was_finished=True)
            writer, queries, clips = _resume(folder, earlier, folders, queries)
        _run_parts(session, writer, FeatureReader(folders), queries, clips)
        with writing(folder):
            return _result(folder, writer.finish())


def _begin(
    folder: Path,
    stack: ExitStack,
    info: RunInfo,
    folders: FeatureFolders,
    queries: list[Annotation],
    *,
    skip_bad: bool,
) -> tuple[RunWriter, list[Annotation], list[int]]:
    """Check every sample, and only then make the folder."""
    with progress("checking features", len(queries)) as advance:
        checked = check_samples(folders, queries, advance=advance)
    if checked.bad and not skip_bad:
        raise BadSamplesError(checked.bad, len(queries))
    if not checked.good:
        raise DatasetError(
            f"none of the {len(queries)} samples can be run; nothing was written\n    {_listed(checked.bad)}",
            fix="check that --features is the right folder for these annotations",
        )
    skipped = tuple(Skipped(sample_id, reason) for sample_id, reason in checked.bad)
    info = replace(info, samples=len(checked.good), skipped=skipped)
    table = pl.DataFrame(
        {
            "sample_id": [query.qid for query in checked.good],
            "qid": [query.qid for query in checked.good],
            "vid": [query.vid for query in checked.good],
            "clips": checked.clips,
            "duration": [query.duration for query in checked.good],
        },
        schema=SAMPLES_SCHEMA,
    )
    with writing(folder):
        claim_new(folder, stack)
        return RunWriter.begin(folder, info, table), checked.good, checked.clips


def _resume(
    folder: Path, earlier: RunInfo, folders: FeatureFolders, queries: list[Annotation]
) -> tuple[RunWriter, list[Annotation], list[int]]:
    """Go on with ``earlier``: its choice of samples stands, those that are left are checked again."""
    skipped = {sample.sample_id for sample in earlier.skipped}
    queries = [query for query in queries if query.qid not in skipped]
    with writing(folder):
        writer = RunWriter.resume(folder, earlier)
    planned = planned_samples(folder)
    if planned["qid"].to_list() != [query.qid for query in queries]:
        raise RunFolderError(
            f"{folder} does not list the samples of this run",
            received=f"{len(planned)} samples in samples.parquet",
            expected=f"the {len(queries)} that were chosen when it began",
            fix="the folder was changed by hand; run again into another one",
        )
    left = queries[earlier.samples_in(writer.next_part) :]
    with progress("checking features", len(left)) as advance:
        checked = check_samples(folders, left, advance=advance)
    if checked.bad:
        raise DatasetError(
            f"samples that could be run before cannot be run any more\n    {_listed(checked.bad)}",
            expected="the features this run began with: leaving samples out now would change its batches",
            fix="mend these files and resume again, or run into another folder",
        )
    return writer, queries, planned["clips"].to_list()


def _listed(bad: list[tuple[str, str]]) -> str:
    return "\n    ".join(f"{sample_id}: {reason}" for sample_id, reason in bad)


def _run_parts(
    session: GateSession,
    writer: RunWriter,
    reader: FeatureReader,
    queries: Sequence[Annotation],
    clips: Sequence[int],
) -> None:
    info = writer.info
    size = info.samples_per_part
    stopwatch = Stopwatch(info.timings)
    first = writer.next_part * size
    with progress("running", len(queries), done=min(first, len(queries))) as advance:
        for start in range(first, len(queries), size):
            gates: list[SampleGates] = []
            lines: list[str] = []
            for group in grouped(queries[start : start + size], info.batch_size):
                with stopwatch.reading():
                    batch = read_batch(info.manifest, reader, group)
                    lengths = batch["src_vid_mask"].sum(axis=1).astype(int).tolist()
                    place = start + len(gates)
                    _check_unchanged(group, lengths, clips[place : place + len(group)])
                with stopwatch.computing():
                    outputs = session.run(batch)
                with stopwatch.writing():
                    gates += [
                        cut_sample(query.qid, outputs.gates, row, lengths[row])
                        for row, query in enumerate(group)
                    ]
                    if info.predictions:
                        lines += _prediction_lines(info, group, outputs, lengths)
                advance(len(group))
            with stopwatch.writing(), writing(writer.folder):
                writer.write_part(gates, lines, stopwatch.timings(start + len(gates)))


def _check_unchanged(group: Sequence[Annotation], lengths: list[int], planned: Sequence[int]) -> None:
    for query, found, expected in zip(group, lengths, planned, strict=True):
        if found != expected:
            raise DatasetError(
                f"the features of {query.vid} changed while the run was going on",
                received=f"{found} clips",
                expected=f"{expected} clips, as when they were checked",
            )


def _prediction_lines(
    info: RunInfo, group: Sequence[Annotation], outputs: Outputs, lengths: Sequence[int]
) -> list[str]:
    logits, spans, saliency = (outputs.predictions[name] for name in _PREDICTIONS)
    return [
        prediction_line(
            format_prediction(
                qid=query.json_qid,
                query=query.query,
                vid=query.vid,
                duration=query.duration,
                logits=logits[row],
                spans=spans[row],
                saliency=saliency[row],
                clips=lengths[row],
                clip_length=info.manifest.preprocessing.clip_length,
            )
        )
        for row, query in enumerate(group)
    ]


def _result(folder: Path, info: RunInfo, *, was_finished: bool = False) -> RunResult:
    return RunResult(
        output=folder,
        samples=info.samples,
        skipped=info.skipped,
        seconds=info.timings.seconds,
        samples_per_second=info.timings.samples_per_second,
        was_finished=was_finished,
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
