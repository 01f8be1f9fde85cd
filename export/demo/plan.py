"""What the demo's dataset holds: which clips have the sound, which have the sight, and what is asked.

Three things are planted, each with a strength a clip (0 where it is absent, about 1 where it is plain):

- **event**: applause. In 10 of 16 videos, once or twice, 4 to 12 clips long. The gates should find it.
- **decoy**: rain, which sounds a little like applause. Without it every gate that hears would be perfect.
- **sight**: a red umbrella in the picture. In every video, and without regard to the sound.

Of 16 videos 10 have the event, 3 have sound without it, 2 have a track of silence and 1 has no track at all.
A query asks for the sound or for the sight; its ground truth is where that is. So the queries that ask for
the sound can only be answered through the audio, and the others never need it.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .random_streams import stream

DEMO_SEED = 7
# Of fewer than 100 no baseline for the monitor is made.
DEMO_VIDEOS = 112
MAX_CLIPS = 75
DEMO_CLIP_SECONDS = 2
# The demo is of QVHighlights' kind, whose windows end here.
CLAMP_SECONDS = 150

Sound = Literal["event", "scene", "silence", "none"]
Topic = Literal["sound", "sight"]

# Which kind of sound the videos have, over and over.
_SOUNDS: tuple[Sound, ...] = (
    *("event", "event", "scene", "event", "event", "silence", "event", "event"),
    *("scene", "event", "none", "event", "silence", "event", "scene", "event"),
)
_QUERIES: dict[Topic, tuple[str, ...]] = {
    "sound": (
        "The audience breaks into applause",
        "People can be heard clapping after the speech",
        "Loud applause fills the hall",
        "A crowd claps and cheers in the background",
    ),
    "sight": (
        "A woman opens a red umbrella",
        "A red umbrella is carried across the street",
        "Someone walks past with a red umbrella",
        "A man holds a red umbrella in front of a shop",
    ),
}
_FIRST_QID = 3001


@dataclass(frozen=True, eq=False)
class Video:
    """One video of ``clips`` clips; ``event``, ``decoy`` and ``sight`` are strengths (clips,), 0 if absent.

    ``sound``: ``event`` and ``scene`` have ordinary sound, with and without the event; ``silence`` is a track
    of silence, ``none`` is a missing track.
    """

    vid: str
    clips: int
    sound: Sound
    event: NDArray[np.float64]
    decoy: NDArray[np.float64]
    sight: NDArray[np.float64]

    @property
    def duration(self) -> int:
        """Seconds."""
        return self.clips * DEMO_CLIP_SECONDS

    @property
    def event_clips(self) -> list[int]:
        """Indices of the clips that have the event."""
        return np.flatnonzero(self.event).tolist()

    @property
    def silent(self) -> bool:
        """Whether there is nothing to hear."""
        return self.sound in ("silence", "none")


@dataclass(frozen=True)
class DemoQuery:
    """One query about a video, and what it asks for."""

    qid: int
    text: str
    video: Video
    asks: Topic

    @property
    def target(self) -> NDArray[np.float64]:
        """Strength (clips,) of what is asked for: the ground truth is where it is above 0."""
        return self.video.event if self.asks == "sound" else self.video.sight


@dataclass(frozen=True)
class DemoPlan:
    """The whole dataset; queries are in annotation order, those of one video together."""

    seed: int
    videos: tuple[Video, ...]
    queries: tuple[DemoQuery, ...]


def make_plan(videos: int = DEMO_VIDEOS, seed: int = DEMO_SEED) -> DemoPlan:
    """A plan of ``videos`` videos with two or three queries each; the same for the same arguments."""
    chosen = tuple(_video(number, seed) for number in range(videos))
    return DemoPlan(seed, chosen, tuple(_queries(chosen)))


def _video(number: int, seed: int) -> Video:
    rng = stream(seed, f"video {number}")
    name = "".join(rng.choice(list(string.ascii_letters + string.digits), 11))
    start = 2 * rng.randint(0, 150)
    clips = MAX_CLIPS if rng.rand() < 0.85 else int(rng.randint(28, MAX_CLIPS))
    sound = _SOUNDS[number % len(_SOUNDS)]
    event, decoy = np.zeros(clips), np.zeros(clips)
    if sound == "event":
        for _ in range(1 + int(rng.rand() < 0.3)):
            event = np.maximum(event, _moment(rng, clips, (4, 12)))
    if sound in ("event", "scene") and rng.rand() < 0.5:
        decoy = 0.8 * _moment(rng, clips, (3, 9)) * (event == 0)
    sight = _moment(rng, clips, (5, 26))
    return Video(
        f"{name}_{start:.1f}_{start + clips * DEMO_CLIP_SECONDS:.1f}", clips, sound, event, decoy, sight
    )


def _moment(rng: np.random.RandomState, clips: int, lengths: tuple[int, int]) -> NDArray[np.float64]:
    """Strengths (clips,) of one moment: it fades in and out, and varies from clip to clip."""
    length = int(rng.randint(lengths[0], lengths[1] + 1))
    start = int(rng.randint(0, clips - length + 1))
    strength = rng.uniform(0.35, 1.25) * (1 + 0.25 * rng.standard_normal(length))
    strength[[0, -1]] *= 0.7
    moment = np.zeros(clips)
    moment[start : start + length] = strength.clip(0.15)
    return moment


def _queries(videos: tuple[Video, ...]) -> Iterator[DemoQuery]:
    qid = _FIRST_QID
    for number, video in enumerate(videos):
        asks: list[Topic] = ["sound", "sight"] if video.event_clips else ["sight", "sight"]
        if video.event_clips and number % 4 == 0:
            asks.append("sound")
        for place, subject in enumerate(asks):
            texts = _QUERIES[subject]
            yield DemoQuery(qid, texts[(number + place) % len(texts)], video, subject)
            qid += 1
