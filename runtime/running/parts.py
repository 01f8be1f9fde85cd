"""A computed part of a run as it is stored: gates, statistics and predictions, in annotation order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..data.annotations import Annotation
from ..runs.info import RunInfo
from ..runs.predictions import format_prediction, prediction_line
from ..runs.summary_table import SampleSummary, cut_summary
from ..runs.table import SampleGates, cut_sample
from ..session.session import Outputs
from .behind import Computed
from .plan import RunPlan, sample_id


@dataclass(frozen=True)
class AssembledPart:
    """Whatever of gates, statistics and predictions the run stores; ``end``: how many samples end with it."""

    end: int
    gates: list[SampleGates] = field(default_factory=list[SampleGates])
    summaries: list[SampleSummary] = field(default_factory=list[SampleSummary])
    lines: list[str] = field(default_factory=list[str])


def assemble(plan: RunPlan, batches: Sequence[Computed]) -> AssembledPart:
    """Put the samples of all batches of a part back into annotation order.

    Raises :class:`~gatescope.runtime.errors.GatescopeError` where the model gave NaN or Inf.
    """
    info = plan.writer.info
    rows = sorted(
        (place, row, number)
        for number, computed in enumerate(batches)
        for row, place in enumerate(computed.group.places)
    )
    part = AssembledPart(end=rows[-1][0] + 1)
    for place, row, number in rows:
        sample, clips, outputs = plan.samples[place], plan.clips[place], batches[number].outputs
        name = sample_id(info, sample)
        if info.gates:
            part.gates.append(cut_sample(name, outputs.gates, row, clips, outputs.contributions))
        if info.summaries:
            part.summaries.append(cut_summary(name, outputs.summaries, row))
        if info.predictions:
            part.lines.append(_line(info, sample, outputs, row, clips))
    return part


def _line(info: RunInfo, sample: Annotation, outputs: Outputs, row: int, clips: int) -> str:
    return prediction_line(
        format_prediction(
            qid=sample.json_qid,
            query=sample.query,
            vid=sample.vid,
            duration=sample.duration,
            logits=outputs.predictions["pred_logits"][row],
            spans=outputs.predictions["pred_spans"][row],
            saliency=outputs.predictions["saliency_scores"][row],
            clips=clips,
            round_to=info.manifest.preprocessing.round_to,
            clamp_seconds=info.manifest.preprocessing.clamp_seconds,
        )
    )
