"""Which samples a run saw only a part of: their features do not cover the video, or their windows end early.

The numbers are the reference's, which cuts in silence; a reader has to know of it all the same. One clip of
difference is normal: extractors round a video's length in different ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..data.layouts import layout_named
from ..gates.preprocessing import Preprocessing

# Names kept of each kind; the count is of all.
_NAMED = 20
_SHOWN = 3
# Clips of difference that are normal.
_NORMAL = 1


@dataclass(frozen=True)
class Covered:
    """One sample: clips that its video and its audio have, that the model got, and that its duration makes.

    ``duration`` in seconds (TVSum: clips), None where it is not known.
    """

    sample_id: str
    video: int
    audio: int
    used: int
    expected: int
    duration: float | None


@dataclass(frozen=True)
class Shortfall:
    """Samples of a run that share one way of being covered in part.

    - ``kind``: ``audio`` (the audio has fewer clips than the video), ``cut`` (the video is longer than the
      model takes), ``features`` (video and audio both have fewer clips than the duration makes) or
      ``windows`` (predicted windows are clamped before the video ends).
    - ``samples``: how many. ``examples``: the first 20 of them.
    """

    kind: str
    samples: int
    examples: tuple[Covered, ...]


def find_shortfalls(recipe: Preprocessing, samples: Iterable[Covered]) -> tuple[Shortfall, ...]:
    """The samples that are covered in part, by kind; a kind without any is left out."""
    found: dict[str, list[Covered]] = {kind: [] for kind in _KINDS}
    counts = dict.fromkeys(_KINDS, 0)
    for sample in samples:
        for kind in _kinds_of(recipe, sample):
            counts[kind] += 1
            if len(found[kind]) < _NAMED:
                found[kind].append(sample)
    return tuple(Shortfall(kind, counts[kind], tuple(found[kind])) for kind in _KINDS if counts[kind])


def expected_clips(recipe: Preprocessing, duration: float) -> int:
    """How many clips a video of ``duration`` has; 0 where it is not known how long a clip lasts."""
    unit = layout_named(recipe.dataset).clip_unit(recipe.clip_length)
    return round(duration / unit) if unit > 0 else 0


def shortfall_text(shortfall: Shortfall, samples: int, recipe: Preprocessing) -> str:
    """One sentence: how many of the run's ``samples``, what was lost, and the first few by name."""
    what, example = _KINDS[shortfall.kind]
    named = ", ".join(f"{one.sample_id} ({example(one, recipe)})" for one in shortfall.examples[:_SHOWN])
    more = f" and {shortfall.samples - _SHOWN:,} more" if shortfall.samples > _SHOWN else ""
    return f"{shortfall.samples:,} of {samples:,} samples: {what}: {named}{more}"


def shortfall_texts(shortfalls: Sequence[Shortfall], samples: int, recipe: Preprocessing) -> list[str]:
    """:func:`shortfall_text` of each."""
    return [shortfall_text(one, samples, recipe) for one in shortfalls]


def _kinds_of(recipe: Preprocessing, sample: Covered) -> list[str]:
    kinds: list[str] = []
    seen = min(sample.video, recipe.max_v_l)
    if sample.audio < seen - _NORMAL:
        kinds.append("audio")
    if sample.video > recipe.max_v_l + _NORMAL:
        kinds.append("cut")
    if not kinds and sample.used < sample.expected - _NORMAL:
        kinds.append("features")
    clamp, duration = recipe.clamp_seconds, sample.duration
    if clamp is not None and duration is not None and duration > clamp + recipe.clip_length:
        kinds.append("windows")
    return kinds


def _audio(sample: Covered, recipe: Preprocessing) -> str:
    return f"audio of {sample.audio} of {min(sample.video, recipe.max_v_l)} clips"


def _cut(sample: Covered, recipe: Preprocessing) -> str:
    return f"{recipe.max_v_l} of {sample.video} clips"


def _features(sample: Covered, recipe: Preprocessing) -> str:
    return f"{sample.used} of {sample.expected} clips"


def _windows(sample: Covered, recipe: Preprocessing) -> str:
    return f"{sample.duration:g} s" if sample.duration is not None else "of unknown length"


_KINDS: dict[str, tuple[str, Callable[[Covered, Preprocessing], str]]] = {
    "audio": ("the audio ends before the video, and what comes after it was left out", _audio),
    "cut": ("the video is longer than the model takes, and was cut", _cut),
    "features": ("the features end before the video does", _features),
    "windows": ("predicted windows are clamped before the video ends", _windows),
}
