"""Running a model under any choices on the user's samples, as training evaluated it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...runtime.array_types import Float32s
from ...runtime.data.annotations import Annotation
from ...runtime.data.dataset import FeatureSources
from ...runtime.data.features import FeatureReader
from ...runtime.data.folders import FeatureFolders
from ...runtime.data.prepare import Sample, collate, prepare
from ...runtime.errors import VerificationError
from ...runtime.gates.certificate import BatchingEffect
from ...runtime.gates.manifest import Manifest
from ...runtime.gates.vocabulary import PREDICTIONS
from ...runtime.runs.predictions import Prediction
from ..families.choices import Choices
from ..graph.variant import Variant
from .agreement import ENOUGH_EQUAL, Difference, compare_sample
from .batching import BatchingMeter
from .causes import DifferenceCause
from .evidence import Evidence
from .parity import TOLERANCES, RunFeed, valid_entries
from .subject import Subject


class Trial:
    """Runs the subject under any choices on the user's samples, in the reference's batching."""

    def __init__(self, sources: FeatureSources, subject: Subject, manifest: Manifest) -> None:
        self._sources = sources
        self._subject = subject
        self._manifest = manifest
        # Clips and words by qid: the same under any choices.
        self._lengths: dict[str, tuple[int, int]] = {}

    def whole(self, choices: Choices, evidence: Evidence) -> tuple[Difference, ...]:
        """How far the model under ``choices`` is from training's predictions, sample by sample.

        Ends early, with fewer samples than there are, where so many differ that the rest cannot help.
        """
        run, found = (
            self._runner(replace(choices, batching="reference"), Variant("plain")),
            list[Difference](),
        )
        recipe = self._recipe(choices)
        for rows, samples in self._batches(recipe, evidence):
            found += _compared(run(collate(samples)), rows, samples, recipe, evidence)
            if sum(not one.agrees for one in found) > evidence.samples * (1 - ENOUGH_EQUAL):
                break
        return tuple(found)

    def few(self, choices: Choices, evidence: Evidence, places: tuple[int, ...]) -> tuple[Difference, ...]:
        """The same of the samples at ``places`` alone, each as it is in its whole batch.

        Raises :class:`~gatescope.runtime.errors.GatescopeError` where the features do not fit the choices.
        """
        recipe, found = self._recipe(choices), list[Difference]()
        choices = replace(choices, batching="reference")
        excerpts = self._subject.excerpts(choices)
        reader = FeatureReader(self._folders(recipe))
        for batch, inside in evidence.by_batch(places):
            if excerpts is None:
                samples = [self._sample(recipe, reader, row) for row in batch]
                outputs = self._runner(choices, Variant("plain"))(collate(samples))
                compared = _compared(outputs, batch, samples, recipe, evidence)
                found += [compared[place] for place in inside]
                continue
            rows = [batch[place] for place in inside]
            samples = [self._sample(recipe, reader, row) for row in rows]
            lengths = [self._length(recipe, reader, row) for row in batch]
            outputs = excerpts(collate(samples), lengths, inside)
            found += _compared(outputs, rows, samples, recipe, evidence)
        return tuple(found)

    def causes(self, choices: Choices) -> list[DifferenceCause]:
        """Likely causes other than ``choices``; flags name the folders the features are read from now."""
        recipe = self._recipe(choices)
        paths = [source.path for source in recipe.preprocessing.video]
        folders = dict(zip(paths, self._folders(recipe).video, strict=True))
        return self._subject.causes(choices, folders)

    def batch_sizes(self) -> tuple[int, ...]:
        """What training may have evaluated with, the likeliest first."""
        return self._subject.batch_sizes()

    def compare_file(
        self, choices: Choices, variant: Variant, manifest: Manifest, evidence: Evidence, exported: RunFeed
    ) -> tuple[dict[str, float], BatchingEffect | None]:
        """The exported file on the same real samples: largest difference from PyTorch per output, and what
        it changes against training's batches, where it computes in exact batching.
        """
        run, in_batches = self._runner(choices, variant), None
        meter = BatchingMeter(manifest, evidence.batch_size)
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

    def _runner(self, choices: Choices, variant: Variant) -> RunFeed:
        return self._subject.graph(choices, variant).run

    def _recipe(self, choices: Choices) -> Manifest:
        return replace(self._manifest, preprocessing=self._subject.preprocessing(choices))

    def _batches(
        self, recipe: Manifest, evidence: Evidence
    ) -> Iterator[tuple[Sequence[Annotation], list[Sample]]]:
        reader = FeatureReader(self._folders(recipe))
        for rows in evidence.batches:
            yield rows, [self._sample(recipe, reader, row) for row in rows]

    def _sample(self, recipe: Manifest, reader: FeatureReader, row: Annotation) -> Sample:
        raw = reader.read(row)
        sample = prepare(recipe, video=raw.video, audio=raw.audio, text=raw.text)
        self._lengths[row.qid] = sample.clips, sample.words
        return sample

    def _length(self, recipe: Manifest, reader: FeatureReader, row: Annotation) -> tuple[int, int]:
        if row.qid not in self._lengths:
            self._sample(recipe, reader, row)
        return self._lengths[row.qid]

    def _folders(self, recipe: Manifest) -> FeatureFolders:
        """Folders of video features that were given by hand are put in the order of the recipe's sources."""
        sources = self._sources
        if sources.video:
            paths = [source.path for source in self._manifest.preprocessing.video]
            given = dict(zip(paths, sources.video, strict=True))
            video = tuple(given[source.path] for source in recipe.preprocessing.video)
            sources = replace(sources, video=video)
        return sources.find(recipe)


def _compared(
    outputs: Mapping[str, Float32s],
    rows: Sequence[Annotation],
    samples: Sequence[Sample],
    recipe: Manifest,
    evidence: Evidence,
) -> list[Difference]:
    """The samples of one batch against training's lines."""
    found: list[Difference] = []
    for i, (row, sample) in enumerate(zip(rows, samples, strict=True)):
        one = {name: outputs[name][i] for name in PREDICTIONS}
        line = evidence.predictions[row.qid]
        _refuse_other_sizes(line, len(one["pred_logits"]), sample.clips)
        found.append(compare_sample(one, row, sample.clips, recipe.preprocessing, line))
    return found


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
