"""Which samples a run computes: checked before anything is written, and the same ones when it resumes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..causes import told_causes
from ..data.annotations import Annotation
from ..data.check import CheckedSamples, check_samples
from ..data.folders import FeatureFolders
from ..data.mistaken import refuse_wrong_order
from ..errors import BadSamplesError, DatasetError, RunFolderError
from ..progress import progress
from ..runs.coverage import Covered, expected_clips, find_shortfalls
from ..runs.folder import claim_new, writing
from ..runs.info import RunInfo, Skipped
from ..runs.reader import planned_samples
from ..runs.schema import SAMPLES_SCHEMA
from ..runs.stopwatch import RunClock
from ..runs.writer import RunWriter
from .opening import Opening


@dataclass(frozen=True, eq=False)
class RunPlan:
    """A run that may begin or go on.

    - ``writer``: at the first part that is missing.
    - ``samples``: everything the run computes, in order: queries, or the first query of each video.
    - ``clips``, ``words``: L and T of each. ``states``: int64 (samples, 2), what the state of its video and
      text files was when they were checked. Words and states of samples that are done are not known.
    """

    writer: RunWriter
    samples: list[Annotation]
    clips: list[int]
    words: list[int]
    states: NDArray[np.int64]


def sample_id(info: RunInfo, query: Annotation) -> str:
    """The id under which what is computed for ``query`` is stored."""
    return query.vid if info.per_video else query.qid


def begin_run(
    folder: Path,
    stack: ExitStack,
    draft: RunInfo,
    opening: Opening,
    folders: FeatureFolders,
    queries: list[Annotation],
    clock: RunClock,
    *,
    skip_bad: bool,
) -> RunPlan:
    """Check every sample, and only then make the folder; its lock is held until ``stack`` closes.

    Meanwhile the model is opened, which completes ``draft``. Raises at once what opening it raises,
    :class:`BadSamplesError` where samples cannot be run and ``skip_bad`` does not leave them out, and
    :class:`DatasetError` where none is left.
    """
    samples = _samples_of(draft, queries)
    with clock.checking, progress("checking features", len(samples)) as advance:
        checked = check_samples(folders, samples, advance=advance, beside=[opening.work])
    info = opening.complete(draft)
    name = {sample.qid: sample_id(info, sample) for sample in samples}
    bad = [(name[qid], reason) for qid, reason in checked.bad]
    if not checked.good:
        refuse_wrong_order(folders, samples)
    if bad and not skip_bad:
        raise BadSamplesError(bad, len(samples))
    if not checked.good:
        raise DatasetError(
            f"none of the {len(samples)} samples can be run; nothing was written\n    "
            + _listed(bad, len(samples)),
            fix="check that --features is the right folder for these annotations",
        )
    clips = {sample_id(info, one): count for one, count in zip(checked.good, checked.clips, strict=True)}
    queries = [query for query in queries if sample_id(info, query) in clips]
    table = pl.DataFrame(
        {
            "sample_id": [sample_id(info, query) for query in queries],
            "qid": [query.qid for query in queries],
            "vid": [query.vid for query in queries],
            "clips": [clips[sample_id(info, query)] for query in queries],
            "duration": [query.duration for query in queries],
        },
        schema=SAMPLES_SCHEMA,
    )
    skipped = tuple(Skipped(sample_id, reason) for sample_id, reason in bad)
    info = replace(
        info,
        samples=len(checked.good),
        queries=len(queries),
        skipped=skipped,
        coverage=find_shortfalls(info.manifest.preprocessing, _covered(info, checked)),
    )
    with writing(folder):
        claim_new(folder, stack)
        writer = RunWriter.begin(folder, info, table)
    return RunPlan(writer, checked.good, checked.clips, checked.words, checked.states)


def _covered(info: RunInfo, checked: CheckedSamples) -> Iterator[Covered]:
    recipe = info.manifest.preprocessing
    for sample, used, (video, audio) in zip(checked.good, checked.clips, checked.stored, strict=True):
        expected = expected_clips(recipe, sample.duration)
        yield Covered(sample_id(info, sample), video, audio, used, expected, sample.duration)


def resume_run(
    folder: Path, earlier: RunInfo, folders: FeatureFolders, queries: list[Annotation], clock: RunClock
) -> RunPlan:
    """Go on with ``earlier``: its choice of samples stands, those that are left are checked again.

    Raises :class:`RunFolderError` where the folder was changed, :class:`DatasetError` where a sample that
    could be run then cannot be now.
    """
    skipped = {sample.sample_id for sample in earlier.skipped}
    queries = [query for query in queries if sample_id(earlier, query) not in skipped]
    samples = _samples_of(earlier, queries)
    with writing(folder):
        writer = RunWriter.resume(folder, earlier)
    planned = planned_samples(folder)
    if planned["qid"].to_list() != [query.qid for query in queries] or len(samples) != earlier.samples:
        raise RunFolderError(
            f"{folder} does not list the samples of this run",
            received=f"{len(planned)} queries in samples.parquet",
            expected=f"the {len(queries)} that were chosen when it began",
            fix="the folder was changed by hand; run again into another one",
        )
    done = earlier.samples_in(writer.next_part)
    left = samples[done:]
    with clock.checking, progress("checking features", len(left)) as advance:
        checked = check_samples(folders, left, advance=advance)
    if checked.bad:
        raise DatasetError(
            f"samples that could be run before cannot be run any more\n    {_listed(checked.bad, len(left))}",
            expected="the features this run began with: leaving samples out now would change its batches",
            fix="fix these files and resume again, or run into another folder",
        )
    clips = planned.unique("sample_id", keep="first", maintain_order=True)["clips"]
    words = [0] * done + checked.words
    states = np.concatenate([np.zeros((done, 2), np.int64), checked.states])
    return RunPlan(writer, samples, clips.to_list(), words, states)


def _samples_of(info: RunInfo, queries: list[Annotation]) -> list[Annotation]:
    """What is computed: every query, or the first of each video."""
    first: dict[str, Annotation] = {}
    for query in queries:
        first.setdefault(sample_id(info, query), query)
    return list(first.values())


def _listed(bad: list[tuple[str, str]], total: int) -> str:
    return "\n    ".join(told_causes(bad, "sample", total))
