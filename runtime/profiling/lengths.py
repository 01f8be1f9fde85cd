"""How long the samples of a measurement are: all alike, or as a user's annotations have them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..array_types import Float32s
from ..data.annotations import Annotation, read_annotations
from ..data.layouts import layout_named
from ..gates.manifest import Manifest
from ..gates.preprocessing import Preprocessing
from .samples import random_batch

# CLIP's tokenizer puts one before and one behind the words.
SPECIAL_TOKENS = 2
# Samples in all the batches of one measurement: enough to hold a distribution, few enough for memory.
_POOL = 64
_MOST_BATCHES = 32
_FEWEST_BATCHES = 2


@dataclass(frozen=True)
class Lengths:
    """The (clips, words) of samples, sorted; one pair where all samples are of that length.

    ``told`` says what they are, ``rule`` how they were found where they had to be.
    """

    pairs: tuple[tuple[int, int], ...]
    told: str
    rule: str | None = None

    @property
    def clips(self) -> int:
        """The median number of clips."""
        return round(float(np.median([clips for clips, _ in self.pairs])))

    @property
    def words(self) -> int:
        """The median number of words."""
        return round(float(np.median([words for _, words in self.pairs])))

    @property
    def mean_clips(self) -> float:
        """How many clips a sample has on average: the amount of video follows from it."""
        return float(np.mean([clips for clips, _ in self.pairs]))

    @property
    def longest(self) -> tuple[int, int]:
        """The most clips and the most words, not necessarily of one sample."""
        return max(clips for clips, _ in self.pairs), max(words for _, words in self.pairs)


def alike(clips: int, words: int, *, text: bool = True) -> Lengths:
    """Every sample has ``clips`` clips and ``words`` words; without ``text`` nobody reads the words."""
    told = f"{clips} clips and {words} words" if text else f"{clips} clips"
    return Lengths(((clips, words),), f"{told} in every sample")


def lengths_of_annotations(path: Path, preprocessing: Preprocessing) -> Lengths:
    """The lengths of the queries in ``path``, features unseen.

    A video has ceil(duration / clip length) clips (TVSum's durations are clips already), at most
    ``max_v_l``; a query has as many tokens as words between white space and two special ones, at most
    ``max_q_l``. Raises :class:`~gatescope.runtime.errors.DatasetError` for a file that cannot be read.
    """
    queries = read_annotations(path)
    pairs = sorted((_clips(query, preprocessing), _words(query, preprocessing)) for query in queries)
    clips, words = ([pair[i] for pair in pairs] for i in range(2))
    told = f"as long as {len(pairs):,} queries of {path.name}: {_spread(clips)} clips, {_spread(words)} words"
    in_clips = layout_named(preprocessing.dataset).durations_in_clips
    unit = "" if in_clips else f" / {preprocessing.clip_length:g} s"
    rule = (
        f"clips = duration{unit}, at most {preprocessing.max_v_l}; words = words between white space + "
        f"{SPECIAL_TOKENS} special tokens, at most {preprocessing.max_q_l}"
    )
    return Lengths(tuple(pairs), told, rule)


def draw_batches(manifest: Manifest, lengths: Lengths, batch_size: int) -> tuple[Mapping[str, Float32s], ...]:
    """Random batches of ``batch_size`` samples: one where all are alike, else several that hold the lengths.

    The lengths are taken evenly over their sorted list, so that few samples hold the distribution, and
    shuffled into batches; always the same ones.
    """
    rng = np.random.default_rng(0)
    count = 1
    if len(lengths.pairs) > 1:
        count = min(max(_POOL // batch_size, _FEWEST_BATCHES), _MOST_BATCHES)
    total = count * batch_size
    places = (np.arange(total) + 0.5) * len(lengths.pairs) / total
    chosen = [lengths.pairs[int(place)] for place in rng.permutation(places)]
    return tuple(
        random_batch(manifest.preprocessing, chosen[start : start + batch_size], rng)
        for start in range(0, total, batch_size)
    )


def _clips(query: Annotation, preprocessing: Preprocessing) -> int:
    unit = layout_named(preprocessing.dataset).clip_unit(preprocessing.clip_length)
    return min(max(math.ceil(query.duration / unit), 1), preprocessing.max_v_l)


def _words(query: Annotation, preprocessing: Preprocessing) -> int:
    return min(len(query.query.split()) + SPECIAL_TOKENS, preprocessing.max_q_l)


def _spread(values: list[int]) -> str:
    """Median, and the smallest and largest where they differ."""
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{float(np.median(values)):g} ({low} to {high})"
