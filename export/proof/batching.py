"""What exact batching changes: the file, which computes each sample by itself, against training's batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...runtime.array_types import Float32s
from ...runtime.data.annotations import Annotation
from ...runtime.data.prepare import Sample
from ...runtime.gates.certificate import BatchingEffect
from ...runtime.gates.manifest import Manifest
from ...runtime.gates.vocabulary import PREDICTIONS
from .agreement import predicted
from .parity import valid_entries


class BatchingMeter:
    """Adds up, batch by batch, how far the file of ``manifest`` is from the model in training's batching."""

    def __init__(self, manifest: Manifest, batch_size: int) -> None:
        self._manifest = manifest
        self._batch_size = batch_size
        kinds = {manifest.gate_output(kind): kind for kind in manifest.tracked_kinds}
        self._gates = dict.fromkeys(kinds.values(), 0.0)
        self._outputs = {name: 0.0 for name in PREDICTIONS if name in manifest.output_names}
        self._kinds = kinds
        self._samples = self._changed = 0

    def add(
        self,
        rows: Sequence[Annotation],
        samples: Sequence[Sample],
        batched: Mapping[str, Float32s],
        alone: Mapping[str, Float32s],
    ) -> None:
        """One batch: ``batched`` as training computed it, ``alone`` as the file does."""
        clips = [sample.clips for sample in samples]
        for tensor in self._manifest.outputs:
            name = tensor.name
            into, key = (self._gates, self._kinds[name]) if name in self._kinds else (self._outputs, name)
            if key not in into:
                continue
            there, here = (valid_entries(one[name], tensor.axes, clips) for one in (batched, alone))
            into[key] = max(into[key], float(np.abs(there - here).max(initial=0.0)))
        self._samples += len(rows)
        if self._predicts:
            self._changed += sum(
                self._first_window(batched, i, row, count) != self._first_window(alone, i, row, count)
                for i, (row, count) in enumerate(zip(rows, clips, strict=True))
            )

    def effect(self) -> BatchingEffect:
        """What was found so far."""
        changed = self._changed if self._predicts else None
        return BatchingEffect(self._samples, self._batch_size, self._outputs, self._gates, changed)

    @property
    def _predicts(self) -> bool:
        return len(self._outputs) == len(PREDICTIONS)

    def _first_window(
        self, outputs: Mapping[str, Float32s], place: int, row: Annotation, clips: int
    ) -> list[float] | None:
        one = {name: outputs[name][place] for name in PREDICTIONS}
        windows = predicted(one, row, clips, self._manifest.preprocessing)["pred_relevant_windows"]
        return windows[0][:2] if windows else None
