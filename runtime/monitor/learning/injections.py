"""Faults of an audio pipeline, made on purpose: what each does to a prepared sample.

The positions (TEF) stay in all of them: the model's own code adds them, whatever the audio is. The labels are
those that a diagnosis names; of some there are several variants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.features import RawFeatures
from ...data.prepare import NORM_EPS, Sample, prepare
from ...gates.manifest import Manifest
from ...gates.vocabulary import TEF_CHANNELS

SILENT, ZERO, SHUFFLED, SHIFTED, NORMALISATION = (
    "silent audio",
    "zero features",
    "shuffled audio",
    "shifted audio",
    "wrong normalisation",
)
LABELS = (SILENT, ZERO, SHUFFLED, SHIFTED, NORMALISATION)
# Of all rows of a dataset's audio, the share that is taken for silence: the quietest.
_QUIETEST = 0.005

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Injection:
    """One variant of a fault: ``label``, what is special about it, and what it makes of sample ``number``."""

    label: str
    variant: str
    apply: Callable[[int], Sample]


def injections(
    manifest: Manifest, raw: Sequence[RawFeatures], samples: Sequence[Sample], silence: Vector | None
) -> list[Injection]:
    """Every fault that can be made of ``samples``, which were prepared from ``raw``, in the same order.

    ``silence``: raw audio features (Da,) of a silent clip, or None for the quietest of ``raw``. At least two
    samples are needed for audio of another.
    """
    tef = TEF_CHANNELS if manifest.preprocessing.tef else 0
    quiet = _prepared(manifest, quietest([one.audio for one in raw]) if silence is None else silence)
    flipped = replace(
        manifest,
        preprocessing=replace(
            manifest.preprocessing, normalize_video=not manifest.preprocessing.normalize_video
        ),
    )

    def with_audio(number: int, audio: NDArray[np.float32]) -> Sample:
        own = samples[number]
        made = own.audio.copy()
        made[:, : made.shape[1] - tef] = audio
        return replace(own, audio=made)

    def of(number: int) -> NDArray[np.float32]:
        audio = samples[number].audio
        return audio[:, : audio.shape[1] - tef]

    def silent(number: int) -> Sample:
        return with_audio(number, np.broadcast_to(quiet, of(number).shape))

    def shuffled(number: int) -> Sample:
        # Half a round away: no sample gets its own, and each is used once.
        other = of((number + max(len(samples) // 2, 1)) % len(samples))
        return with_audio(number, np.resize(other, of(number).shape))

    def shifted(share: float) -> Callable[[int], Sample]:
        return lambda number: with_audio(
            number, np.roll(of(number), max(round(share * samples[number].clips), 1), axis=0)
        )

    def unnormalised(number: int, *, video: bool) -> Sample:
        one = raw[number]
        other = prepare(flipped, video=one.video, audio=one.audio, text=one.text)
        return other if video else replace(samples[number], audio=other.audio)

    return [
        Injection(SILENT, "every clip is silent", silent),
        Injection(ZERO, "features are zero", lambda n: with_audio(n, np.zeros_like(of(n)))),
        Injection(SHUFFLED, "of another video", shuffled),
        Injection(SHIFTED, "by a fifth of the video", shifted(0.2)),
        Injection(SHIFTED, "by half of the video", shifted(0.5)),
        Injection(NORMALISATION, "of the audio", lambda n: unnormalised(n, video=False)),
        Injection(NORMALISATION, "of audio and video", lambda n: unnormalised(n, video=True)),
    ]


def quietest(audio: Sequence[NDArray[Any]]) -> Vector:
    """The mean direction of the quietest rows that are not zero, as long as the quietest of them."""
    rows = np.concatenate([np.asarray(one, np.float32) for one in audio])
    norms = np.linalg.norm(rows, axis=1)
    rows, norms = rows[norms > 0], norms[norms > 0]
    if not len(rows):
        return np.zeros(audio[0].shape[1], np.float32)
    order = np.argsort(norms)[: max(int(_QUIETEST * len(norms)), 1)]
    mean = (rows[order] / norms[order, None]).mean(axis=0)
    return np.asarray(mean * norms[order[0]], np.float32)


def _prepared(manifest: Manifest, row: Vector) -> Vector:
    if not manifest.preprocessing.normalize_video:
        return row
    return np.asarray(row / (np.linalg.norm(row) + NORM_EPS), np.float32)
