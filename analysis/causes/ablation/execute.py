"""Runs a dataset through every intervention, all of them on one batch before the next is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ....runtime.data.annotations import Annotation
from ....runtime.errors import GatescopeError
from ....runtime.gates.vocabulary import PREDICTIONS
from ....runtime.progress import progress
from ....runtime.runs.predictions import Prediction, format_prediction
from ....runtime.session.session import GateSession, Outputs
from .changes import ModelInputs, changed, clip_counts, fit_donors
from .donors import donors
from .gate_means import GateMeans, GateSums
from .interventions import Intervention, ablatable_kinds
from .parts import finished_query_parts, write_part
from .plan import AblationPlan, ablation_folder

#: Queries → their batches, (qids, the model's full set of inputs), features read as the batches are drawn.
ReadBatches = Callable[[Sequence[Annotation]], Iterator[tuple[list[str], ModelInputs]]]


def measure_gate_means(session: GateSession, read: ReadBatches, queries: Sequence[Annotation]) -> GateMeans:
    """The mean of every gate that can be changed, over ``queries``; one pass of the unchanged model."""
    sums, kinds = GateSums(), ablatable_kinds(session.manifest)
    with progress("measuring mean gates", len(queries)) as advance:
        for ids, batch in read(queries):
            gates = session.run(batch).gates
            sums.update({kind: gates[kind] for kind in kinds}, clip_counts(batch))
            advance(len(ids))
    return sums.means()


def run_interventions(
    session: GateSession,
    folder: Path,
    plan: AblationPlan,
    chosen: Sequence[Intervention],
    read: ReadBatches,
    queries: Sequence[Annotation],
    means: GateMeans,
) -> None:
    """Write every part that ``folder`` lacks.

    The features of a batch and of its donors are read once. One batch and the predictions of one part are in
    memory.
    """
    size = plan.run.samples_per_part
    donor_queries = donors(queries, seed=plan.donor_seed)
    exchanged = any(one.treatment == "shuffled" for one in chosen)
    number = finished_query_parts(folder, plan.run.parts)
    left = queries[number * size :]
    given = read(donor_queries[number * size :]) if exchanged and left else iter(())
    with progress(f"running {len(chosen)} models", len(queries), done=len(queries) - len(left)) as advance:
        part: dict[str, list[Prediction]] = {one.name: [] for one in chosen}
        place = first = number * size
        for ids, batch in read(left) if left else ():
            group = queries[place : place + len(ids)]
            donated = next(given, (ids, None))[1]
            lent = None if donated is None else fit_donors(batch, donated, session.run(donated).gates)
            for one in chosen:
                inputs, overrides = changed(session.manifest, one, batch, means, lent)
                outputs = session.run(inputs, overrides=overrides)
                part[one.name] += _predictions(session, one, group, outputs, batch)
            place += len(ids)
            advance(len(ids))
            if place - first == size or place == len(queries):
                with ablation_folder(folder):
                    write_part(folder, number, first, part)
                part = {one.name: [] for one in chosen}
                number, first = number + 1, place


def _predictions(
    session: GateSession,
    intervention: Intervention,
    group: Sequence[Annotation],
    outputs: Outputs,
    batch: ModelInputs,
) -> list[Prediction]:
    """As a run formats them, so that the metrics of the unchanged model are those of its run."""
    logits, spans, saliency = (outputs.predictions[name] for name in PREDICTIONS)
    lengths = clip_counts(batch).tolist()
    try:
        return [
            format_prediction(
                qid=query.json_qid,
                query=query.query,
                vid=query.vid,
                duration=query.duration,
                logits=logits[row],
                spans=spans[row],
                saliency=saliency[row],
                clips=lengths[row],
                round_to=session.manifest.preprocessing.round_to,
                clamp_seconds=session.manifest.preprocessing.clamp_seconds,
            )
            for row, query in enumerate(group)
        ]
    except GatescopeError as error:
        raise GatescopeError(
            f"{error.problem} with {intervention.title}",
            received=error.received,
            fix=error.fix if intervention.what == "nothing" else "the model cannot bear this change",
        ) from error
