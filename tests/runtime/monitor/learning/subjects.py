"""Models of which it is known what they hear, each with a baseline of its own and what faults do to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.runtime.data.prepare import Sample, prepare
from gatescope.runtime.gates.manifest import Manifest
from gatescope.runtime.monitor.alarm import WindowReading
from gatescope.runtime.monitor.baseline.baseline import Baseline, make_baseline
from gatescope.runtime.monitor.baseline.videos import BaselineVideos
from gatescope.runtime.monitor.counting.videos import VideoCounts
from gatescope.runtime.monitor.detection.readings import Reference, read_window, reference_of
from gatescope.runtime.monitor.detection.window import window_sums
from gatescope.runtime.monitor.diagnosis.signatures import Signature, Signatures
from gatescope.runtime.monitor.learning.injections import (
    NORMALISATION,
    SHIFTED,
    SHUFFLED,
    SILENT,
    ZERO,
    injections,
)
from gatescope.runtime.monitor.learning.learn import counts_of_samples, learn_from
from gatescope.runtime.monitor.model import WatchedModel
from gatescope.runtime.session.session import Outputs

from ....torture.agreeing_model import AUDIO, LAYERS, VIDEO, videos
from ...tiny_model import tiny_manifest

BASELINE, TAUGHT, WINDOW = 200, 60, 50
#: Every variant of every fault: its label, and a word of its own.
VARIANTS = [
    (SILENT, ""),
    (ZERO, ""),
    (SHUFFLED, ""),
    (SHIFTED, "fifth"),
    (SHIFTED, "half"),
    (NORMALISATION, "of the audio"),
    (NORMALISATION, "and video"),
]
_STEPS = np.arange(1, LAYERS + 1)[None, :, None, None] / LAYERS


class OneEar:
    """Gates that hear one number a clip: ``attention`` as it is, ``ffn`` turned round."""

    def __init__(self, *, normalize_video: bool) -> None:
        widths: dict[str, Any] = {"video_widths": VIDEO, "audio_width": AUDIO}
        self.manifest: Manifest = tiny_manifest(
            "clipwise", LAYERS, **widths, outputs_kind="gates", normalize_video=normalize_video
        )

    def heard(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """(B, L)."""
        raise NotImplementedError

    def run(self, batch: Mapping[str, NDArray[Any]]) -> Outputs:
        heard = self.heard(batch)[:, None, :, None]
        gates = {
            kind: np.tanh(sign * _STEPS * heard).astype(np.float32)
            for kind, sign in (("attention", 1), ("ffn", -1))
        }
        return Outputs(gates=gates, predictions={}, raw=dict(gates))


class Deaf(OneEar):
    """Sees the direction of the picture, whatever its length, and hears nothing."""

    def __init__(self) -> None:
        super().__init__(normalize_video=True)

    def heard(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        picture = batch["src_vid"][..., : VIDEO[0]].astype(np.float64)
        return 5 * picture[..., 0] / np.maximum(np.linalg.norm(picture, axis=-1), 1e-12)


class Loudness(OneEar):
    """Hears how loud a clip is and nothing else; its features are as they were recorded."""

    def __init__(self) -> None:
        super().__init__(normalize_video=False)

    def heard(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        return np.linalg.norm(batch["src_aud"][..., :AUDIO], axis=-1) / 40 - 1


@dataclass(frozen=True, eq=False)
class Subject:
    """A model that stands where a session stands; its first 200 videos are the baseline's."""

    session: Any

    @cached_property
    def model(self) -> WatchedModel:
        return WatchedModel.of(self.session.manifest)

    @cached_property
    def baseline(self) -> Baseline:
        names = [f"b{number}" for number in range(BASELINE)]
        counts = self.counts(range(BASELINE))
        own = BaselineVideos.of(self.model.layout, names, names, [""] * BASELINE, counts)
        return make_baseline(self.model, [own], windows=(WINDOW,))

    @cached_property
    def signatures(self) -> Signatures:
        """Learned from the first 60 videos."""
        return learn_from(self.session, self.baseline, videos(range(TAUGHT)))

    @cached_property
    def watched(self) -> Baseline:
        """The baseline with its signatures."""
        return replace(self.baseline, signatures=self.signatures)

    @cached_property
    def reference(self) -> Reference:
        """What windows are held against."""
        return reference_of(self.baseline)

    def samples(self, numbers: Sequence[int], label: str = "", variant: str = "") -> list[Sample]:
        """The videos ``numbers``, broken by ``label`` unless it is empty."""
        raw, manifest = videos(numbers), self.session.manifest
        usual = [prepare(manifest, video=one.video, audio=one.audio, text=one.text) for one in raw]
        if not label:
            return usual
        fault = next(
            one
            for one in injections(manifest, raw, usual, None)
            if one.label == label and variant in one.variant
        )
        return [fault.apply(number) for number in range(len(raw))]

    def counts(self, numbers: Sequence[int], label: str = "", variant: str = "") -> VideoCounts:
        """Of :meth:`samples`."""
        return counts_of_samples(self.session, self.model.layout, self.samples(numbers, label, variant))

    def fault(self, label: str, variant: str = "") -> Signature:
        """What was learned of it."""
        return next(one for one in self.signatures.faults if one.label == label and variant in one.variant)

    def beyond(self, window: VideoCounts, frozen: int = 0) -> list[WindowReading]:
        """The readings of ``window`` beyond their thresholds, the farthest first."""
        held = self.baseline.thresholds_for(len(window))
        return read_window(self.reference, held, *window_sums(window), frozen).firing()
