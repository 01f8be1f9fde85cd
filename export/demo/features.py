"""The demo's features: what the extractors of real datasets would give, with the planted cues in them.

A cue is a fixed direction in one feature space, added to what is there anyway in proportion to its strength
in that clip:

- audio (2048, like PANN: no negative numbers): the video's scene, noise, and the event's direction. Scenes
  resemble the event a little, each to its own degree, and the decoy's direction is halfway to the event's:
  so recognising the event by its direction alone makes errors. Silence is one fixed vector with hardly any
  noise; a missing track is zeros.
- video (2304 like SlowFast, 512 like CLIP): scene and noise; the sight's direction in the CLIP part.
- text (512, like CLIP's words): noise, and in every word the direction of what the query asks for.

Features are raw, as extractors write them: not normalised, float16.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...runtime.array_types import Float64s
from .plan import DemoQuery, Topic, Video
from .random_streams import stream

SLOWFAST, CLIP, PANN, TEXT = 2304, 512, 2048, 512

Stored = NDArray[np.float16]


def event_direction(seed: int) -> Float64s:
    """Applause in the audio space (PANN,): unit length, a tenth of the channels, none negative."""
    return _sparse(seed, "event")


def decoy_direction(seed: int) -> Float64s:
    """Rain in the audio space (PANN,): unit length, cosine 0.5 with the event."""
    mixed = 0.5 * event_direction(seed) + 0.866 * _sparse(seed, "decoy")
    return mixed / np.linalg.norm(mixed)


def sight_direction(seed: int) -> Float64s:
    """The umbrella in the CLIP part of the video (CLIP,), unit length."""
    return _unit(stream(seed, "direction of the sight").standard_normal(CLIP))


def asking_direction(seed: int, subject: Topic) -> Float64s:
    """What a query asks for, in the space of words (TEXT,), unit length."""
    return _unit(stream(seed, f"direction of asking for {subject}").standard_normal(TEXT))


def audio_features(video: Video, seed: int) -> Stored:
    """(clips, PANN)."""
    rng = stream(seed, f"audio of {video.vid}")
    if video.sound == "none":
        return np.zeros((video.clips, PANN), np.float16)
    if video.sound == "silence":
        silence = _without(_sparse(seed, "silence"), event_direction(seed))
        return _store(silence * 20 + 0.01 * np.abs(rng.standard_normal((video.clips, PANN))))
    scene = np.abs(rng.standard_normal(PANN))
    noise = np.abs(rng.standard_normal((video.clips, PANN)))
    resemblance = 0.2 * np.abs(rng.standard_normal()) + 0.15 * rng.standard_normal(video.clips)
    event = video.event + resemblance
    # 16 is a quarter of the length of what is there anyway: the event is plain and far from drowning it.
    planted = 16 * (np.outer(event, event_direction(seed)) + np.outer(video.decoy, decoy_direction(seed)))
    return _store(np.maximum(0.6 * scene + 0.8 * noise + planted, 0))


def make_features(video: Video, seed: int) -> tuple[Stored, Stored]:
    """SlowFast (clips, SLOWFAST) and CLIP (clips, CLIP)."""
    rng = stream(seed, f"video of {video.vid}")
    motion = np.abs(0.7 * rng.standard_normal(SLOWFAST) + 0.7 * rng.standard_normal((video.clips, SLOWFAST)))
    picture = 0.7 * rng.standard_normal(CLIP) + 0.7 * rng.standard_normal((video.clips, CLIP))
    picture += 8 * np.outer(video.sight, sight_direction(seed))
    return _store(motion), _store(picture)


def text_features(query: DemoQuery, seed: int) -> Stored:
    """(words, TEXT); two words more than the query has, for its beginning and its end."""
    rng = stream(seed, f"text of {query.qid}")
    words = len(query.text.split()) + 2
    plain = rng.uniform(5, 11, words)
    return _store(rng.standard_normal((words, TEXT)) + np.outer(plain, asking_direction(seed, query.asks)))


def _sparse(seed: int, name: str) -> Float64s:
    rng = stream(seed, f"direction of {name}")
    return _unit(np.abs(rng.standard_normal(PANN)) * (rng.rand(PANN) < 0.1))


def _without(vector: Float64s, other: Float64s) -> Float64s:
    """``vector`` without the channels in which ``other`` is active."""
    return _unit(vector * (other == 0))


def _unit(vector: Float64s) -> Float64s:
    return vector / np.linalg.norm(vector)


def _store(array: Float64s) -> Stored:
    return array.astype(np.float16)
