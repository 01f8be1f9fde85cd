"""From a results folder to its dataset, and to what its model is compared with."""

from __future__ import annotations

from ..runtime.brief import counted
from ..runtime.data.annotations import read_annotations
from ..runtime.data.dataset import Dataset, Selection
from ..runtime.data.domains import qids_of_domain
from ..runtime.errors import GatescopeError
from ..runtime.runs.predictions import read_predictions
from .proof.verify import VerifyRequest
from .reading.options import whole
from .reading.results import ResultsFolder, refuse_no_data


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
