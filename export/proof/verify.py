"""Is it really the user's model? Its outputs on real samples against what training predicted for them.

A rebuilt model can be certified equal to itself and still be wrong: heads, gating and the attention gate's
activation leave no trace in the weights. So the model runs on the user's own samples, in the reference's
batching, file order and batch size, and is compared with the predictions in training's results folder. On
disagreement every likely cause is tried, and the flag that mends it is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...runtime.data.annotations import Annotation, read_annotations
from ...runtime.data.dataset import FeatureSources
from ...runtime.data.features import FeatureReader
from ...runtime.data.folders import FeatureFolders
from ...runtime.data.prepare import Sample, collate, prepare
from ...runtime.errors import DatasetError, GatescopeError, VerificationError
from ...runtime.gates.certificate import BatchingEffect, Verification
from ...runtime.gates.manifest import Manifest
from ...runtime.gates.vocabulary import PREDICTIONS
from ...runtime.runs.predictions import Prediction, read_predictions
from ...runtime.session.model_file import file_sha256
from ..families.choices import Choices
from ..graph.variant import Variant
from .agreement import Agreement, Difference, agreement_of, compare_sample
from .batching import BatchingMeter
from .causes import DifferenceCause
from .parity import TOLERANCES, RunFeed, valid_entries
from .subject import Subject

MOST_VERIFIED = 200
# Causes are tried in pairs only where the best one alone brings the model so much closer.
_CLOSER = 0.8
_SHOWN = 3


@dataclass(frozen=True)
class VerifyRequest:
    """Real predictions and the data they were made from.

    - ``predictions``: a submission file of the training run. ``annotations``: the JSONL it was made for.
    - ``sources``: where the features lie.
    - ``batch_size``: what training evaluated with; None takes it from the checkpoint's options.
    """

    predictions: Path
    annotations: Path
    sources: FeatureSources = field(default_factory=FeatureSources)
    batch_size: int | None = None


@dataclass(frozen=True)
class Verified:
    """What was found: agreement with training's predictions, and what exact batching changes about them.

    ``batching_effect`` is None for a file that computes in training's batching.
    """

    verification: Verification
    batching_effect: BatchingEffect | None


@dataclass(frozen=True)
class _Evidence:
    """The first rows of the annotations in whole batches, and training's line for each."""

    batches: tuple[tuple[Annotation, ...], ...]
    predictions: dict[str, Prediction]
    batch_size: int

    @property
    def samples(self) -> int:
        return sum(map(len, self.batches))


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
    trial = _Trial(request, subject, manifest)
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


def _evidence(request: VerifyRequest, manifest: Manifest) -> _Evidence:
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
    return _Evidence(batches, predictions, batch_size)


class _Trial:
    """Runs the subject under any choices on the user's samples."""

    def __init__(self, request: VerifyRequest, subject: Subject, manifest: Manifest) -> None:
        self._request = request
        self._subject = subject
        self._manifest = manifest

    def agreement(self, choices: Choices, evidence: _Evidence) -> Agreement:
        """How far the model under ``choices`` is from training's predictions, in the reference's batching."""
        choices = replace(choices, batching="reference")
        run, differences = self._runner(choices, Variant("plain")), list[Difference]()
        recipe = self._recipe(choices)
        for rows, samples in self._batches(recipe, evidence):
            outputs = run(collate(samples))
            for i, (row, sample) in enumerate(zip(rows, samples, strict=True)):
                one = {name: outputs[name][i] for name in PREDICTIONS}
                line = evidence.predictions[row.qid]
                _refuse_other_sizes(line, len(one["pred_logits"]), sample.clips)
                differences.append(compare_sample(one, row, sample.clips, recipe.preprocessing, line))
        return agreement_of(differences)

    def results(
        self, tried: Sequence[DifferenceCause], evidence: _Evidence
    ) -> list[tuple[DifferenceCause, Agreement | GatescopeError]]:
        """What each cause gives, the closest to training's predictions first."""
        found: list[tuple[DifferenceCause, Agreement | GatescopeError]] = []
        for cause in tried:
            try:
                found.append((cause, self.agreement(cause.choices, evidence)))
            except GatescopeError as error:  # features that do not fit this cause: it is not the cause
                found.append((cause, error))
        return sorted(found, key=lambda pair: _badness(pair[1]))

    def causes(self, choices: Choices) -> list[DifferenceCause]:
        """Likely causes beside ``choices``; flags name the folders the features are read from now."""
        recipe = self._recipe(choices)
        paths = [source.path for source in recipe.preprocessing.video]
        folders = dict(zip(paths, self._folders(recipe).video, strict=True))
        return self._subject.causes(choices, folders)

    def compare_file(
        self, choices: Choices, variant: Variant, evidence: _Evidence, exported: RunFeed
    ) -> tuple[dict[str, float], BatchingEffect | None]:
        """The exported file on the same real samples: largest difference from PyTorch per output, and what
        it changes against training's batches, where it computes in exact batching.
        """
        run, manifest = self._runner(choices, variant), self._manifest
        in_batches, meter = None, BatchingMeter(manifest, evidence.batch_size)
        if manifest.batching == "exact":
            in_batches = self._runner(replace(choices, batching="reference"), variant)
        errors = dict.fromkeys(manifest.output_names, 0.0)
        for rows, samples in self._batches(manifest, evidence):
            batch = collate(samples)
            want, got = run(batch), exported(batch)
            clips = [sample.clips for sample in samples]
            for tensor in manifest.outputs:
                expected = valid_entries(want[tensor.name], tensor.axes, clips)
                error = float(np.abs(expected - valid_entries(got[tensor.name], tensor.axes, clips)).max())
                errors[tensor.name] = max(errors[tensor.name], error)
                allowed = TOLERANCES[manifest.precision] * max(1.0, float(np.abs(expected).max()))
                if not error <= allowed:
                    raise VerificationError(
                        f"the exported file differs from PyTorch in {tensor.name} on real samples",
                        received=f"a difference of {error:.3g}",
                        fix="this is a fault of the export: report it with the checkpoint's sizes",
                    )
            if in_batches is not None:
                meter.add(rows, samples, in_batches(batch), got)
        effect = meter.effect() if in_batches is not None else None
        return {f"file_{name}": error for name, error in errors.items()}, effect

    @property
    def last_resort(self) -> str:
        """What the user can do where no cause explains it; see :class:`Subject`."""
        return self._subject.last_resort

    def _runner(self, choices: Choices, variant: Variant) -> RunFeed:
        return self._subject.graph(choices, variant).run

    def _recipe(self, choices: Choices) -> Manifest:
        return replace(self._manifest, preprocessing=self._subject.preprocessing(choices))

    def _batches(
        self, recipe: Manifest, evidence: _Evidence
    ) -> Iterator[tuple[Sequence[Annotation], list[Sample]]]:
        reader = FeatureReader(self._folders(recipe))
        for rows in evidence.batches:
            raw = [reader.read(row) for row in rows]
            yield rows, [prepare(recipe, video=r.video, audio=r.audio, text=r.text) for r in raw]

    def _folders(self, recipe: Manifest) -> FeatureFolders:
        """Folders of video features that were given by hand are put in the order of the recipe's sources."""
        sources = self._request.sources
        if sources.video:
            paths = [source.path for source in self._manifest.preprocessing.video]
            given = dict(zip(paths, sources.video, strict=True))
            video = tuple(given[source.path] for source in recipe.preprocessing.video)
            sources = replace(sources, video=video)
        return sources.find(recipe)


def _disagreement(
    trial: _Trial,
    choices: Choices,
    evidence: _Evidence,
    found: Agreement | DatasetError,
    tell: Callable[[str], None],
) -> VerificationError:
    """Try every likely cause alone and, where one brings the model closer, each next to that one."""
    first = replace(evidence, batches=evidence.batches[:1])
    tell("the predictions differ; trying likely causes")
    results = trial.results(trial.causes(choices), first)
    mending = _mending(results)
    if not mending and results and _badness(results[0][1]) < _CLOSER * _badness(found):
        best = results[0][0]
        option = best.flag.split()[0]
        rest = [cause for cause in trial.causes(best.choices) if cause.flag.split()[0] != option]
        tell(f"no single cause explains it; trying each with {best.flag}")
        pairs = [replace(c, name=f"{best.name}, and {c.name}", flag=f"{best.flag} {c.flag}") for c in rest]
        paired = [pair for pair in trial.results(pairs, first) if _mending([pair])]
        mending = _mending(paired)
        results = [*paired, *results]
    lines = [f"as given: {found if isinstance(found, Agreement) else found.problem}", *_tried(results)]
    if mending:
        fix = "export again with " + " or ".join(cause.flag for cause in mending)
        if len(mending) > 1:
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


def _mending(results: Sequence[tuple[DifferenceCause, Agreement | GatescopeError]]) -> list[DifferenceCause]:
    return [cause for cause, result in results if isinstance(result, Agreement) and result.enough]


def _tried(results: Sequence[tuple[DifferenceCause, Agreement | GatescopeError]]) -> list[str]:
    """The causes that explain it, else the closest, with their numbers; of the others the flags alone."""
    ran = [(cause, result) for cause, result in results if isinstance(result, Agreement)]
    unfit = [cause.flag for cause, result in results if not isinstance(result, Agreement)]
    shown = max(len(_mending(ran)), _SHOWN)
    lines = [f"{cause.name} ({cause.flag}): {result}" for cause, result in ran[:shown]]
    if ran[shown:]:
        lines.append(f"no closer: {', '.join(cause.flag for cause, _ in ran[shown:])}")
    if unfit:
        lines.append(f"cannot be, by the features' widths: {', '.join(unfit)}")
    return lines


def _refuse_other_sizes(line: Prediction, windows: int, clips: int) -> None:
    """A file that was cut down, or made from other features, says nothing about the model."""
    for what, found, wanted, reason in (
        ("windows", len(line["pred_relevant_windows"]), windows, "give the file without NMS or a top-k cut"),
        ("saliency scores", len(line["pred_saliency_scores"]), clips, "give the features it was made from"),
    ):
        if found != wanted:
            raise VerificationError(
                f"the predictions for qid {line['qid']} have another number of {what} than the model gives",
                received=f"{found} {what}",
                expected=str(wanted),
                fix=reason,
            )


def _badness(result: Agreement | GatescopeError) -> float:
    return result.typical if isinstance(result, Agreement) else float("inf")
