"""Is it really the user's model? Its outputs on real samples against what training predicted for them.

A rebuilt model can be certified equal to itself and still be wrong: heads, gating and the attention gate's
activation leave no trace in the weights. So the model runs on the user's own samples, in the reference's
batching, file order and batch size, and is compared with the predictions in training's results folder. On
disagreement every likely cause is tried, and the flag that fixes it is named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field, replace
from pathlib import Path

from ...runtime.data.annotations import read_annotations
from ...runtime.data.dataset import FeatureSources
from ...runtime.errors import DatasetError, GatescopeError, VerificationError
from ...runtime.gates.certificate import BatchingEffect, Verification
from ...runtime.gates.manifest import Manifest
from ...runtime.runs.predictions import read_predictions
from ...runtime.session.model_file import file_sha256
from ..families.choices import Choices
from ..graph.variant import Variant
from .agreement import Agreement
from .causes import DifferenceCause
from .parity import RunFeed
from .subject import Subject
from .trial import Evidence, Trial, badness

MOST_VERIFIED = 200
# Causes are tried in pairs only where the best one alone brings the model so much closer.
_CLOSER = 0.8
_SHOWN = 3


@dataclass(frozen=True)
class VerifyRequest:
    """Real predictions and the data they were made from.

    - ``predictions``: a submission file of the training run. ``annotations``: the JSONL it was made for.
    - ``features``: where the features lie: the folder that holds one folder per source (the other folders
      override it), or all of them as :class:`~gatescope.runtime.FeatureSources`. Kept as ``sources``.
    - ``batch_size``: what training evaluated with; None takes it from the checkpoint's options.
    """

    predictions: Path
    annotations: Path
    features: InitVar[FeatureSources | str | Path | None] = None
    video_features: InitVar[Sequence[str | Path] | None] = None
    audio_features: InitVar[str | Path | None] = None
    text_features: InitVar[str | Path | None] = None
    batch_size: int | None = None
    sources: FeatureSources = field(default_factory=FeatureSources, kw_only=True)

    def __post_init__(
        self,
        features: FeatureSources | str | Path | None,
        video_features: Sequence[str | Path] | None,
        audio_features: str | Path | None,
        text_features: str | Path | None,
    ) -> None:
        folders = (video_features, audio_features, text_features)
        if isinstance(features, FeatureSources):
            sources = features
        elif features is None and not any(folders):
            return
        else:
            sources = FeatureSources.of(
                features,
                video_features=video_features,
                audio_features=audio_features,
                text_features=text_features,
            )
        object.__setattr__(self, "sources", sources)


@dataclass(frozen=True)
class Verified:
    """What was found: agreement with training's predictions, and what exact batching changes about them.

    ``batching_effect`` is None for a file that computes in training's batching.
    """

    verification: Verification
    batching_effect: BatchingEffect | None


def verify(
    request: VerifyRequest,
    subject: Subject,
    choices: Choices,
    variant: Variant,
    manifest: Manifest,
    exported: RunFeed,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> Verified:
    """Compare the model with real predictions, and the exported file with the model on the same samples.

    The model is run as training evaluated, in batches; a file in exact batching is also compared with that.
    ``manifest`` and ``variant`` are the exported file's, ``exported`` runs it. Raises
    :class:`VerificationError` naming the causes that were tried where they disagree, and
    :class:`~gatescope.runtime.errors.DatasetError` where the data cannot be read.
    """
    evidence = _evidence(request, manifest)
    trial = Trial(request.sources, subject, manifest)
    try:
        agreement = trial.agreement(choices, evidence)
    except DatasetError as error:
        agreement = error
    if not isinstance(agreement, Agreement) or not agreement.enough:
        raise _disagreement(trial, choices, evidence, agreement, tell)
    file_errors, effect = trial.compare_file(choices, variant, evidence, exported)
    errors = {
        "score": agreement.largest.score,
        "saliency": agreement.largest.saliency,
        "window_seconds": agreement.largest.window,
        **file_errors,
    }
    verification = Verification(
        predictions=request.predictions.name,
        predictions_sha256=file_sha256(request.predictions),
        samples=evidence.samples,
        batch_size=evidence.batch_size,
        errors=errors,
    )
    return Verified(verification, effect)


def refuse_bad_request(request: VerifyRequest, manifest: Manifest) -> None:
    """Raise what :func:`verify` would raise for its own input, before the long work that comes first."""
    _evidence(request, manifest)


def _evidence(request: VerifyRequest, manifest: Manifest) -> Evidence:
    batch_size = request.batch_size or manifest.eval_batch_size
    if batch_size is None:
        raise VerificationError(
            "the batch size training evaluated with is not recorded, and predictions depend on it",
            fix="give it: --verify-batch-size N (the training script's default is 100)",
        )
    annotations = read_annotations(request.annotations)
    predictions = {str(line["qid"]): line for line in read_predictions(request.predictions)}
    # A sample's numbers depend on its batch, so batches are taken whole; only the last of the file is short.
    count = max(MOST_VERIFIED // batch_size, 1) * batch_size
    chosen = annotations[:count]
    absent = [row.qid for row in chosen if row.qid not in predictions]
    if absent:
        raise DatasetError(
            f"{request.predictions} has no predictions for {len(absent)} of the first {len(chosen)} queries "
            f"of {request.annotations}",
            received=f"no line for qid {', '.join(absent[:5])}",
            expected="predictions for the annotations in their order",
            fix="give the annotation file these predictions were made for",
        )
    batches = tuple(tuple(chosen[i : i + batch_size]) for i in range(0, len(chosen), batch_size))
    return Evidence(batches, predictions, batch_size)


def _disagreement(
    trial: Trial,
    choices: Choices,
    evidence: Evidence,
    found: Agreement | DatasetError,
    tell: Callable[[str], None],
) -> VerificationError:
    """Try every likely cause alone and, where one brings the model closer, each next to that one."""
    first = replace(evidence, batches=evidence.batches[:1])
    tell("the predictions differ; trying likely causes")
    results = trial.results(trial.causes(choices), first)
    explaining = _explaining(results)
    if not explaining and results and badness(results[0][1]) < _CLOSER * badness(found):
        best = results[0][0]
        option = best.flag.split()[0]
        rest = [cause for cause in trial.causes(best.choices) if cause.flag.split()[0] != option]
        tell(f"no single cause explains it; trying each with {best.flag}")
        pairs = [replace(c, name=f"{best.name}, and {c.name}", flag=f"{best.flag} {c.flag}") for c in rest]
        paired = [pair for pair in trial.results(pairs, first) if _explaining([pair])]
        explaining = _explaining(paired)
        results = [*paired, *results]
    lines = [f"as given: {found if isinstance(found, Agreement) else found.problem}", *_tried(results)]
    if explaining:
        fix = "export again with " + " or ".join(cause.flag for cause in explaining)
        if len(explaining) > 1:
            fix += " (these agree equally; training's own options decide)"
    else:
        fix = (
            f"none of these explains it. {trial.last_resort}Or the predictions, annotations or features "
            "belong to another run or batch size (--verify-batch-size)"
        )
    return VerificationError(
        f"the model does not reproduce training's predictions on {evidence.samples} samples",
        received="largest differences, with the causes that were tried\n    " + "\n    ".join(lines),
        expected="scores within 0.001, saliency within 0.005, windows within a clip's rounding",
        fix=fix,
    )


def _explaining(
    results: Sequence[tuple[DifferenceCause, Agreement | GatescopeError]],
) -> list[DifferenceCause]:
    return [cause for cause, result in results if isinstance(result, Agreement) and result.enough]


def _tried(results: Sequence[tuple[DifferenceCause, Agreement | GatescopeError]]) -> list[str]:
    """The causes that explain it, else the closest, with their numbers; of the others the flags alone."""
    ran = [(cause, result) for cause, result in results if isinstance(result, Agreement)]
    unfit = [cause.flag for cause, result in results if not isinstance(result, Agreement)]
    shown = max(len(_explaining(ran)), _SHOWN)
    lines = [f"{cause.name} ({cause.flag}): {result}" for cause, result in ran[:shown]]
    if ran[shown:]:
        lines.append(f"no closer: {', '.join(cause.flag for cause, _ in ran[shown:])}")
    if unfit:
        lines.append(f"cannot be, by the features' widths: {', '.join(unfit)}")
    return lines
