"""The whole ablation: a model and a dataset in, one folder with effects, figure and report out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import polars as pl

from ....runtime.brief import brief, counted
from ....runtime.causes import told_causes
from ....runtime.data.annotations import Annotation
from ....runtime.data.batches import Batch, batches
from ....runtime.data.check import check_samples
from ....runtime.data.dataset import AnyPath, Dataset, FeatureSources
from ....runtime.data.folders import FeatureFolders
from ....runtime.data.mistaken import refuse_wrong_order
from ....runtime.data.subsets import read_subsets
from ....runtime.errors import BadSamplesError, DatasetError
from ....runtime.files import local, new_file
from ....runtime.progress import progress
from ....runtime.running.settings import RunOptions, RunSettings, split_options
from ....runtime.runs.atomic import write_together
from ....runtime.runs.info import RunInfo, Skipped
from ....runtime.runs.provenance import feature_ref, file_ref, run_versions
from ....runtime.session.session import GateSession
from ...evaluation.evaluate import Evaluation, evaluate
from ...evaluation.ground_truth import GroundTruth, read_ground_truth
from ...evaluation.metrics import short_metric
from ...figures.ablation import ablation_figure
from ...figures.style import png
from ...report.again import again
from ...report.document import to_json
from ...report.section import Section
from .document import ablation_document
from .donors import DONOR_SEED
from .effects import Effects, judge
from .execute import ReadBatches, measure_gate_means, run_interventions
from .gate_means import GateMeans
from .interventions import Intervention, check_ablatable, interventions
from .parts import predictions_of
from .plan import (
    DOCUMENT,
    QUERIES_FOLDER,
    REPORT,
    AblationPlan,
    ablation_folder,
    ablation_words,
    check_continues,
    claim,
    earlier_plan,
    queries_per_part,
    write_plan,
)
from .report import ABLATION_FIGURE, ablation_report, ablation_warnings

# Metrics in the figure; all of them are in the report.
_DRAWN = ("MR-full-mAP", "MR-full-R1@0.5", "MR-full-R1@0.7", "HL-min-VeryGood-mAP", "HL-min-VeryGood-Hit1")


@dataclass(frozen=True)
class AblationResult:
    """What an ablation found and where it lies.

    - ``files``: everything written, the report first. ``document``: the content of the JSON file.
    - ``skipped``: samples left out, and why. ``warnings``: what to know before believing it, in plain text.
    """

    output: Path
    files: tuple[Path, ...]
    effects: Effects
    document: dict[str, Any]
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        return brief(self)


def ablate(
    model: AnyPath,
    annotations: AnyPath,
    features: AnyPath | None,
    output: AnyPath,
    *,
    subsets: Sequence[str] = (),
    **options: Unpack[RunOptions],
) -> AblationResult:
    """:func:`ablate_dataset` with keywords in place of objects: ``device``, ``batch_size``, ``resume``, …"""
    dataset, settings = split_options(annotations, features, options)
    return ablate_dataset(model, dataset, output, settings, subsets=subsets)


def ablate_dataset(
    model: AnyPath,
    dataset: Dataset,
    output: AnyPath,
    settings: RunSettings | None = None,
    *,
    subsets: Sequence[str] = (),
) -> AblationResult:
    """Run ``model`` on ``dataset`` with its gates and its audio changed, and write what that does to its
    metrics.

    The model must be exported with ``--overridable``. Every intervention of
    :func:`~gatescope.analysis.causes.ablation.interventions.interventions` runs on the same batches.
    In memory are one batch, the predictions of a few dozen queries and the judged metrics of all.

    - ``subsets``: specifications NAME=FILE, see :func:`~gatescope.runtime.data.subsets.read_subsets`.
    - ``settings``: ``resume`` goes on with the ablation in ``output``, or judges a finished one again with
      other ``subsets``.

    Raises :class:`~gatescope.runtime.errors.UsageError` for a model that cannot be changed or predicts
    nothing, :class:`~gatescope.runtime.errors.DatasetError` for annotations or features,
    :class:`~gatescope.runtime.errors.RunMismatchError` where ``output`` holds an ablation of something else,
    and :class:`~gatescope.runtime.errors.RunFolderError` where it cannot be written.
    """
    folder, wanted = local(output), settings or RunSettings()
    batch_size = wanted.samples_per_batch
    with ExitStack() as stack:
        with ablation_folder(folder):
            earlier = earlier_plan(folder, stack, resume=wanted.resume)
        session = stack.enter_context(wanted.open(local(model)))
        manifest = session.manifest
        check_ablatable(manifest, session.path)
        right = read_ground_truth(dataset.annotations)  # before hours of work, not after
        queries = dataset.queries()
        members = read_subsets(subsets, [query.qid for query in queries])
        folders = dataset.sources.find(manifest)
        skipped = _bad_samples(folders, queries, dataset.skip_bad) if earlier is None else earlier.run.skipped
        left_out = {sample.sample_id for sample in skipped}
        queries = [query for query in queries if query.qid not in left_out]
        chosen = interventions(manifest, len({query.vid for query in queries}))
        run = RunInfo(
            model=file_ref(session.path),
            manifest=manifest,
            annotations=file_ref(dataset.annotations),
            features=feature_ref(folders),
            selection=dataset.selection,
            batch_size=batch_size,
            device=session.device,
            samples=len(queries),
            samples_per_part=queries_per_part(batch_size),
            predictions=True,
            versions=run_versions(session.versions),
            tf32=session.tf32,
            skipped=skipped,
        )
        plan = AblationPlan(run, tuple(one.name for one in chosen), DONOR_SEED)
        if earlier is None:
            with ablation_folder(folder):
                claim(folder, stack)
                write_plan(folder, plan)
        else:
            check_continues(plan, earlier, folder)
            plan = earlier
        read = partial(_read, session, dataset.sources, batch_size)
        plan = _complete(session, folder, plan, chosen, read, queries)
        session.close()
        return _judge(
            folder, plan, chosen, queries, right, members, again(ablation_words(plan.run, folder, subsets))
        )


def _read(
    session: GateSession, sources: FeatureSources, batch_size: int, queries: Sequence[Annotation]
) -> Iterator[tuple[list[str], Batch]]:
    return batches(session.manifest, queries, features=sources, batch_size=batch_size)


def _bad_samples(
    folders: FeatureFolders, queries: Sequence[Annotation], skip_bad: bool
) -> tuple[Skipped, ...]:
    with progress("checking features", len(queries)) as advance:
        bad = check_samples(folders, queries, advance=advance).bad
    if len(bad) == len(queries):
        refuse_wrong_order(folders, queries)
    if bad and not skip_bad:
        raise BadSamplesError(bad, len(queries))
    if len(bad) == len(queries):
        raise DatasetError(
            f"none of the {len(queries)} samples can be run; nothing was written\n    "
            + "\n    ".join(told_causes(bad, "sample", len(queries))),
            fix="check that --features is the right folder for these annotations",
        )
    return tuple(Skipped(qid, reason) for qid, reason in bad)


def _complete(
    session: GateSession,
    folder: Path,
    plan: AblationPlan,
    chosen: Sequence[Intervention],
    read: ReadBatches,
    queries: Sequence[Annotation],
) -> AblationPlan:
    """Compute whatever the folder lacks; gives the plan with the gates' means."""
    if plan.run.finished:
        return plan
    if plan.gate_means is None:
        means = measure_gate_means(session, read, queries)
        plan = replace(plan, gate_means={kind: values.tolist() for kind, values in means.items()})
        with ablation_folder(folder):
            write_plan(folder, plan)
    assert plan.gate_means is not None
    means: GateMeans = {kind: np.asarray(values) for kind, values in plan.gate_means.items()}
    run_interventions(session, folder, plan, chosen, read, queries, means)
    plan = replace(plan, run=replace(plan.run, finished=True))
    with ablation_folder(folder):
        write_plan(folder, plan)
    return plan


def _judge(
    folder: Path,
    plan: AblationPlan,
    chosen: Sequence[Intervention],
    queries: Sequence[Annotation],
    truth: GroundTruth,
    subsets: Mapping[str, frozenset[str]],
    last: Section,
) -> AblationResult:
    written: list[Path] = []
    unchanged: list[Evaluation] = []

    def evaluated() -> Iterator[tuple[Intervention, pl.DataFrame]]:
        with progress("evaluating", len(chosen)) as advance:
            for number, one in enumerate(chosen):
                predictions = predictions_of(folder, plan.run.parts, one.name, queries)
                evaluation = evaluate(predictions, truth, allow_missing=True)
                if not unchanged:
                    unchanged.append(evaluation)
                path = folder / QUERIES_FOLDER / f"{number:02}-{_file_name(one.name)}.parquet"
                with ablation_folder(folder), new_file(path) as partial_path:
                    evaluation.per_query.insert_column(
                        0, pl.lit(one.name).alias("intervention")
                    ).write_parquet(partial_path)
                written.append(path)
                advance(1)
                yield one, evaluation.per_query

    effects = judge(evaluated(), subsets)
    base = unchanged[0]
    warnings = tuple(ablation_warnings(plan, effects, base))
    document = ablation_document(plan, effects, base.metrics, warnings)
    drawn = [name for name in _DRAWN if name in effects.metrics]
    subtitle = (
        f"{counted(effects.videos, 'video')}, {effects.queries:,} queries; each bar is a change against the "
        f"unchanged model. {effects.bootstrap.level:.0%} intervals by video."
    )
    figure = ablation_figure(effects.overall, drawn, [short_metric(name) for name in drawn], subtitle)
    text = ablation_report(plan, effects, warnings)
    contents = {
        REPORT: f"{text}\n## {last.title}\n\n{last.text}\n".encode(),
        DOCUMENT: to_json(document).encode(),
        ABLATION_FIGURE: png(figure),
    }
    with ablation_folder(folder):
        write_together(folder, contents)
    files = (*(folder / name for name in contents), *written)
    return AblationResult(folder, files, effects, document, plan.run.skipped, warnings)


def _file_name(name: str) -> str:
    """Kinds of gates are named by the model: only letters, digits and a few signs go into a file's name."""
    return "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "-_") else "_" for letter in name
    )
