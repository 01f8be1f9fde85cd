"""Which samples of a window share a batch, so that little of what is computed is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The work of one clip, in units of one word's. Measured on a full-size model: 31 words more take 2 % longer
# than 75 clips do, and a call for one clip and one word takes as long as some 25 clips.
_CLIP = 20
_CALL = 25 * _CLIP


def buckets(clips: Sequence[int], words: Sequence[int], batch_size: int) -> list[list[int]]:
    """Places 0 … n-1 of a window in batches of at most ``batch_size``, each place once.

    ``clips`` and ``words`` are the lengths of the n samples. Samples are ordered by clips, then words, then
    place, and this order is cut where the sum over batches of

        500 + samples · (20 · longest clips + longest words)

    is least; where several are, the batches at the end are full. Places within a batch ascend. The answer
    depends on nothing but the arguments.
    """
    lengths, texts = np.asarray(clips, np.int64), np.asarray(words, np.int64)
    order = np.lexsort((texts, lengths))
    lengths, texts = lengths[order], texts[order]
    count = len(order)
    least = np.zeros(count + 1, np.int64)  # of the first so many samples
    cut = np.zeros(count + 1, np.int64)  # where the last of their batches begins
    for end in range(1, count + 1):
        begin = max(end - batch_size, 0)
        longest_text = np.maximum.accumulate(texts[begin:end][::-1])[::-1]
        work = _CLIP * lengths[end - 1] + longest_text
        total = least[begin:end] + _CALL + np.arange(end - begin, 0, -1) * work
        best = int(np.argmin(total))
        least[end], cut[end] = total[best], begin + best
    batches: list[list[int]] = []
    end = count
    while end:
        batches.append(sorted(order[cut[end] : end].tolist()))
        end = int(cut[end])
    return batches[::-1]
