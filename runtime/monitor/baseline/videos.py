"""The videos of a baseline: one sample of each, in an order that does not depend on how they came.

A video is known by a 64-bit hash of its id. Of several samples of one video the one whose own hash is
smallest is kept, and of very many videos those with the smallest hashes, which is an even draw. Both choices
depend on the set of samples alone, so that baselines of any split, merged in any order, hold the same videos
with identical integers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..counting.layout import GateLayout
from ..counting.videos import VideoCounts

#: More videos than these make no threshold better, only the file larger.
MOST_VIDEOS = 10_000

Keys = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class BaselineVideos:
    """N videos, by their hash ascending.

    - ``videos``, ``samples`` (N,): hashes of each video's id and of the sample that stands for it.
      ``slices`` (N,): the part of the traffic it belongs to, empty for none. ``counts``: its gates.
    """

    videos: Keys
    samples: Keys
    slices: NDArray[np.str_]
    counts: VideoCounts

    def __len__(self) -> int:
        return len(self.videos)

    @classmethod
    def of(
        cls,
        layout: GateLayout,
        videos: Sequence[str],
        samples: Sequence[str],
        slices: Sequence[str],
        counts: VideoCounts,
    ) -> BaselineVideos:
        """From ids as text; ``counts`` (N) in the same order."""
        if not videos:
            return cls.empty(layout)
        return _chosen(
            np.array([key_of(video) for video in videos], np.uint64),
            np.array([key_of(sample) for sample in samples], np.uint64),
            np.array(slices, dtype=np.str_),
            counts,
        )

    @classmethod
    def empty(cls, layout: GateLayout) -> BaselineVideos:
        """No video."""
        none = np.zeros(0, np.uint64)
        return cls(none, none, np.zeros(0, np.str_), VideoCounts.empty(layout))

    @classmethod
    def joined(cls, parts: Sequence[BaselineVideos]) -> BaselineVideos:
        """The videos of all ``parts``, each once; ``parts`` must not be empty."""
        return _chosen(
            np.concatenate([part.videos for part in parts]),
            np.concatenate([part.samples for part in parts]),
            np.concatenate([part.slices for part in parts]),
            VideoCounts.joined([part.counts for part in parts]),
        )

    def where(self, kept: NDArray[np.bool_]) -> BaselineVideos:
        """Those of which ``kept`` (N,) is true."""
        return BaselineVideos(
            self.videos[kept], self.samples[kept], self.slices[kept], self.counts[np.flatnonzero(kept)]
        )

    def of_slice(self, name: str) -> VideoCounts:
        """The counts of one slice's videos."""
        return self.counts[np.flatnonzero(self.slices == name)]

    @cached_property
    def slice_sizes(self) -> dict[str, int]:
        """Videos by slice, of those that belong to one."""
        names, sizes = np.unique(self.slices, return_counts=True)
        return {str(name): int(size) for name, size in zip(names, sizes, strict=True) if name}


def key_of(text: str) -> int:
    """64 bits that stand for an id."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def expected_twins(counts: VideoCounts) -> int:
    """How many of N videos have the gates of the one before to the last bit, in an order drawn at random."""
    if len(counts) < 2:
        return 0
    flat = np.ascontiguousarray(counts.integers.reshape(len(counts), -1)).view(np.uint8)
    sums = np.ascontiguousarray(counts.sums.reshape(len(counts), -1)).view(np.uint8)
    _, sizes = np.unique(np.concatenate([flat, sums], axis=1), axis=0, return_counts=True)
    return round(float((sizes * (sizes - 1)).sum()) / (len(counts) - 1))


def _chosen(videos: Keys, samples: Keys, slices: NDArray[np.str_], counts: VideoCounts) -> BaselineVideos:
    order = np.lexsort((slices, samples, videos))
    first = np.ones(len(order), np.bool_)
    first[1:] = videos[order][1:] != videos[order][:-1]
    kept = order[first][:MOST_VIDEOS]
    return BaselineVideos(videos[kept], samples[kept], slices[kept], counts[kept])
