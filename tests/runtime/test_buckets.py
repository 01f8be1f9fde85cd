"""Batches of samples of similar lengths: the cheapest cut, found by trying them all; a run's batches."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.runtime.running.buckets import buckets

LENGTHS = st.lists(st.tuples(st.integers(1, 150), st.integers(1, 32)), min_size=1, max_size=9)


def work(batches: list[list[int]], clips: list[int], words: list[int]) -> int:
    return sum(
        500 + len(batch) * (20 * max(clips[i] for i in batch) + max(words[i] for i in batch))
        for batch in batches
    )


@settings(max_examples=150)
@given(lengths=LENGTHS, batch_size=st.integers(1, 5))
def test_the_cut_is_the_cheapest_of_all(lengths: list[tuple[int, int]], batch_size: int) -> None:
    clips, words = [list(column) for column in zip(*lengths, strict=True)]
    batches = buckets(clips, words, batch_size)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    assert all(batch == sorted(batch) and 1 <= len(batch) <= batch_size for batch in batches)
    order = sorted(range(len(lengths)), key=lambda place: (*lengths[place], place))
    least = min(
        work(cut, clips, words)
        for count in range(len(order))
        for ends in combinations(range(1, len(order)), count)
        if max(map(len, cut := [order[a:b] for a, b in pairwise([0, *ends, len(order)])])) <= batch_size
    )
    assert work(batches, clips, words) == least


def test_a_few_other_lengths_do_not_pad_the_rest() -> None:
    """As in QVHighlights, where some three videos in a hundred are not 75 clips long."""
    rng = np.random.default_rng(0)
    clips = np.where(rng.random(256) < 0.03, rng.integers(30, 75, 256), 75).tolist()
    words = np.clip(rng.normal(14, 5, 256), 3, 32).astype(int).tolist()
    batches = buckets(clips, words, 32)
    mixed = [batch for batch in batches if len({clips[place] for place in batch}) > 1]
    assert len(mixed) <= 2 and sum(map(len, mixed)) < 16
    assert len(batches) <= 256 // 32 + 3
    # Within one length, words are near each other too.
    spread = [max(words[i] for i in batch) - min(words[i] for i in batch) for batch in batches]
    assert np.median(spread) <= 3


def test_equal_lengths_fill_their_batches() -> None:
    batches = buckets([75] * 70, [9] * 70, 32)
    assert sorted(map(len, batches)) == [6, 32, 32]
    assert buckets([75] * 70, [9] * 70, 32) == batches
