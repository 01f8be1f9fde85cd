"""Random samples that look like real ones to a model: rows of unit length, temporal endpoints, masks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..array_types import Float32s
from ..data.prepare import Sample, collate, tef_channels
from ..gates.preprocessing import Preprocessing
from ..gates.vocabulary import TEF_CHANNELS


def random_sample(preprocessing: Preprocessing, clips: int, words: int, rng: np.random.Generator) -> Sample:
    """A sample with rows of unit length and TEF where the recipe has it, as real ones have."""

    def rows(count: int, width: int) -> Float32s:
        x = rng.standard_normal((count, width)).astype(np.float32)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    video, audio = rows(clips, preprocessing.video_width), rows(clips, preprocessing.audio_width)
    if preprocessing.tef:
        video[:, -TEF_CHANNELS:] = audio[:, -TEF_CHANNELS:] = tef_channels(clips)
    return Sample(video, audio, rows(words, preprocessing.text_width))


def random_batch(
    preprocessing: Preprocessing, lengths: Iterable[tuple[int, int]], rng: np.random.Generator
) -> dict[str, Float32s]:
    """A padded batch of the full set, one random sample for each (clips, words) of ``lengths``."""
    return collate([random_sample(preprocessing, clips, words, rng) for clips, words in lengths])
