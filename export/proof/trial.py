"""Running a model under any choices on the user's samples, as training evaluated it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...runtime.data.annotations import Annotation
from ...runtime.data.dataset import FeatureSources
from ...runtime.data.features import FeatureReader
from ...runtime.data.folders import FeatureFolders
from ...runtime.data.prepare import Sample, collate, prepare
from ...runtime.errors import GatescopeError, VerificationError
from ...runtime.gates.certificate import BatchingEffect
from ...runtime.gates.manifest import Manifest
from ...runtime.gates.vocabulary import PREDICTIONS
from ...runtime.runs.predictions import Prediction
from ..families.choices import Choices
from ..graph.variant import Variant
from .agreement import Agreement, Difference, agreement_of, compare_sample
from .batching import BatchingMeter
from .causes import DifferenceCause
from .parity import TOLERANCES, RunFeed, valid_entries
from .subject import Subject


@dataclass(frozen=True)
class Evidence:
    """The first rows of the annotations in whole batches, and training's line for each."""

    batches: tuple[tuple[Annotation, ...], ...]
    predictions: dict[str, Prediction]
    batch_size: int

    @property
    def samples(self) -> int:
        """How many rows."""
        return sum(map(len, self.batches))


def badness(result: Agreement | GatescopeError) -> float:
    """How far it is from training's predictions, for sorting; infinite where the model could not run."""
    return result.typical if isinstance(result, Agreement) else float("inf")


class Trial:
    """Runs the subject under any choices on the user's samples."""

    def __init__(self, sources: FeatureSources, subject: Subject, manifest: Manifest) -> None:
        self._sources = sources
        self._subject = subject
        self._manifest = manifest

    def agreement(self, choices: Choices, evidence: Evidence) -> Agreement:
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
        self, tried: Sequence[DifferenceCause], evidence: Evidence
    ) -> list[tuple[DifferenceCause, Agreement | GatescopeError]]:
        """What each cause gives, the closest to training's predictions first."""
        found: list[tuple[DifferenceCause, Agreement | GatescopeError]] = []
        for cause in tried:
            try:
                found.append((cause, self.agreement(cause.choices, evidence)))
            except GatescopeError as error:  # features that do not fit this cause: it is not the cause
                found.append((cause, error))
        return sorted(found, key=lambda pair: badness(pair[1]))

    def causes(self, choices: Choices) -> list[DifferenceCause]:
        """Likely causes other than ``choices``; flags name the folders the features are read from now."""
        recipe = self._recipe(choices)
        paths = [source.path for source in recipe.preprocessing.video]
        folders = dict(zip(paths, self._folders(recipe).video, strict=True))
        return self._subject.causes(choices, folders)

    def compare_file(
        self, choices: Choices, variant: Variant, evidence: Evidence, exported: RunFeed
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
        self, recipe: Manifest, evidence: Evidence
    ) -> Iterator[tuple[Sequence[Annotation], list[Sample]]]:
        reader = FeatureReader(self._folders(recipe))
        for rows in evidence.batches:
            raw = [reader.read(row) for row in rows]
            yield rows, [prepare(recipe, video=r.video, audio=r.audio, text=r.text) for r in raw]

    def _folders(self, recipe: Manifest) -> FeatureFolders:
        """Folders of video features that were given by hand are put in the order of the recipe's sources."""
        sources = self._sources
        if sources.video:
            paths = [source.path for source in self._manifest.preprocessing.video]
            given = dict(zip(paths, sources.video, strict=True))
            video = tuple(given[source.path] for source in recipe.preprocessing.video)
            sources = replace(sources, video=video)
        return sources.find(recipe)


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
