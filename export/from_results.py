"""From a results folder to a report: what the folder decides, and what the user overrides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from ..runtime.brief import counted
from ..runtime.data.annotations import read_annotations
from ..runtime.data.dataset import Dataset, Selection
from ..runtime.data.domains import qids_of_domain
from ..runtime.errors import GatescopeError
from ..runtime.running.settings import RunSettings
from ..runtime.runs.predictions import read_predictions
from .families.choices import Choices
from .proof.verify import VerifyRequest
from .reading.options import whole
from .reading.results import ResultsFolder, refuse_no_data
from .report import ReportResult, report_checkpoint
from .user.apart.process import CodeChoice


def dataset_of(
    results: ResultsFolder, selection: Selection | None = None, *, skip_bad: bool = False
) -> Dataset:
    """The data of ``results``: its annotations and features.

    Of a model that was trained for one domain, as TVSum's are, only the queries of that domain, unless
    ``selection`` names samples.

    Raises :class:`~gatescope.runtime.errors.UsageError` where the annotations are neither here nor given, and
    :class:`~gatescope.runtime.errors.DatasetError` where they are of other domains.
    """
    refuse_no_data(results, doing="run the model on")
    assert results.annotations is not None
    chosen, domain = selection or Selection(), results.options.get("dset_domain")
    if chosen.samples is None and domain not in (None, ""):
        own = qids_of_domain(results.annotations, str(domain))
        chosen = chosen if own is None else Selection.of(chosen.max_samples, own)
    return Dataset(results.annotations, results.sources, chosen, skip_bad)


def verification_of(
    results: ResultsFolder, batch_size: int | None = None
) -> tuple[VerifyRequest | None, str]:
    """How to compare the model with the predictions training left, and what to say of it.

    None where they do not apply: there are none of this checkpoint, the annotations or features are not
    here, the annotations hold queries training did not predict, or the batch size training evaluated with is
    recorded nowhere (``batch_size`` gives it).
    """
    left, annotations = results.left, results.annotations
    if left.predictions is None:
        return None, f"not compared with training's predictions: {left.said}"
    name = left.predictions.name
    if annotations is None:
        return None, f"not compared with {name}: the annotations it was made for are not here"
    if results.sources.root is None and not results.sources.complete:
        return None, f"not compared with {name}: the features are not all here (--features or --root)"
    if batch_size is None and not whole(results.options.get("eval_bsz")):
        return None, f"not compared with {name}: eval_bsz is not recorded (--verify-batch-size N gives it)"
    try:
        predicted = {str(line["qid"]) for line in read_predictions(left.predictions)}
    except GatescopeError as error:
        return None, f"not compared with {name}: {error.problem}"
    queries = read_annotations(annotations)
    absent = sum(query.qid not in predicted for query in queries)
    if absent:
        return None, (
            f"{name} does not apply: it has no line for {counted(absent, 'query')} of the {len(queries):,} "
            f"in {annotations.name}, which is of another split"
        )
    request = VerifyRequest(left.predictions, annotations, batch_size=batch_size, sources=results.sources)
    return request, f"compared with {name}"


def report_results(
    results: ResultsFolder,
    output: str | Path,
    choices: Choices | None = None,
    settings: RunSettings | None = None,
    *,
    selection: Selection | None = None,
    skip_bad: bool = False,
    verify: bool = True,
    factory: str | None = None,
    code: CodeChoice | None = None,
    subsets: Sequence[str] = (),
    ablate: bool = False,
    analyse: bool = True,
    others: Collection[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> ReportResult:
    """Report on what a training left: :func:`~gatescope.export.report.report_checkpoint` on its folder.

    ``verify``: compare the model with training's predictions where they apply. Where they do not, the
    report's warnings say why. Raises what :func:`dataset_of` and ``report_checkpoint`` raise.
    """
    dataset = dataset_of(results, selection, skip_bad=skip_bad)
    request, said = verification_of(results) if verify else (None, "not compared, as asked")
    made = report_checkpoint(
        results.checkpoint,
        dataset,
        output,
        choices,
        settings,
        factory=factory,
        code=code,
        verification=request,
        subsets=subsets,
        ablate=ablate,
        analyse=analyse,
        others=others,
        tell=tell,
    )
    return made if request is not None else replace(made, warnings=(said, *made.warnings))
