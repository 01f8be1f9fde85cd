"""Is it really the user's model? Its outputs on real samples against what training predicted for them.

A rebuilt model can be certified equal to itself and still be wrong: heads, gating and the attention gate's
activation leave no trace in the weights. So the model runs on the user's own samples, in the reference's
batching, file order and batch size, and is compared with the predictions in training's results folder. On
disagreement likely causes are tried, and the flag that fixes it is named, or else the way on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field
from pathlib import Path

from ...runtime.data.dataset import FeatureSources
from ...runtime.errors import DatasetError, VerificationError
from ...runtime.gates.certificate import BatchingEffect, Verification
from ...runtime.gates.manifest import Manifest
from ...runtime.session.model_file import file_sha256
from ..families.choices import Choices
from ..graph.variant import Variant
from .agreement import Agreement, agreement_of
from .disagreement import disagreement
from .evidence import Evidence, read_evidence
from .parity import RunFeed
from .search import FEW, search_causes
from .subject import Subject
from .trial import Trial


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


@dataclass(frozen=True)
class Reproduced:
    """A model that reproduces training's predictions; the exported file is compared with it next."""

    _request: VerifyRequest
    _trial: Trial
    _choices: Choices
    _evidence: Evidence
    _agreement: Agreement

    def compare_file(self, variant: Variant, manifest: Manifest, exported: RunFeed) -> Verified:
        """Compare the exported file with the model, on the same samples.

        ``manifest`` and ``variant`` are the file's, ``exported`` runs it. Raises :class:`VerificationError`
        where they differ.
        """
        evidence, largest = self._evidence, self._agreement.largest
        file_errors, effect = self._trial.compare_file(self._choices, variant, manifest, evidence, exported)
        errors = {
            "score": largest.score,
            "saliency": largest.saliency,
            "window_seconds": largest.window,
            **file_errors,
        }
        verification = Verification(
            predictions=self._request.predictions.name,
            predictions_sha256=file_sha256(self._request.predictions),
            samples=evidence.samples,
            batch_size=evidence.batch_size,
            errors=errors,
        )
        return Verified(verification, effect)


def reproduce(
    request: VerifyRequest,
    subject: Subject,
    choices: Choices,
    manifest: Manifest,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> Reproduced:
    """Compare the model with real predictions, before the long work of capturing it.

    The model is run as training evaluated, in batches: on a few samples, and where any of these agrees on
    all of them. ``manifest`` is that of the file to be. Raises :class:`VerificationError` naming the causes
    that were tried where they disagree, and :class:`~gatescope.runtime.errors.DatasetError` where the data
    cannot be read.
    """
    batch_size = request.batch_size or manifest.eval_batch_size
    if batch_size is None:
        raise VerificationError(
            "the batch size training evaluated with is not recorded, and predictions depend on it",
            fix="give it: --verify-batch-size N (the training script's default is 100)",
        )
    evidence = read_evidence(request.predictions, request.annotations, batch_size)
    tell("comparing with the predictions of the training run")
    trial = Trial(request.sources, subject, manifest)
    places = tuple(range(min(FEW, evidence.samples)))
    found: Agreement | DatasetError
    typical = float("inf")
    try:
        differences = trial.few(choices, evidence, places)
        if any(one.agrees for one in differences):
            differences = trial.whole(choices, evidence)
            # Where the model differs most, causes are told apart best.
            worst = sorted(range(len(differences)), key=lambda place: -differences[place].size)
            places = tuple(sorted(worst[:FEW]))
        found = agreement_of(differences)
        typical = agreement_of([differences[place] for place in places]).typical
        if found.enough and found.samples == evidence.samples:
            return Reproduced(request, trial, choices, evidence, found)
    except DatasetError as error:
        found = error
    search = search_causes(trial, choices, evidence, places, typical, tell)
    if isinstance(found, DatasetError) and not search.tried:
        raise found
    raise disagreement(found, search, evidence, subject.way_on)
