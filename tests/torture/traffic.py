"""Videos of a small model as a service would log them, and whether two are the same to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gatescope.runtime.monitor.counting.observed import ObservedVideo
from gatescope.runtime.monitor.counting.videos import count_gates
from gatescope.runtime.monitor.model import WatchedModel

BEGAN = 1_700_000_000_000_000_000


def traffic(model: WatchedModel, count: int, *, whole_every: int = 0, seed: int = 0) -> list[ObservedVideo]:
    """``count`` videos of clipwise gates; of every ``whole_every``-th the gates are kept whole."""
    rng = np.random.default_rng(seed)
    layout = model.layout
    videos: list[ObservedVideo] = []
    for number in range(count):
        clips = int(rng.integers(5, 76))
        gates = {
            kind: np.tanh(rng.normal(size=(rows.stop - rows.start, clips, 1))).astype(np.float32)
            for kind, rows in layout.kinds.items()
        }
        counts = count_gates(layout, {kind: array[None] for kind, array in gates.items()})
        videos.append(
            ObservedVideo(
                BEGAN + number * 100_000_000,
                f"video {number}",
                ("", "ko", "en")[number % 3],
                clips,
                counts.integers[0],
                counts.sums[0],
                gates if whole_every and number % whole_every == 0 else None,
            )
        )
    return videos


def named(video: ObservedVideo, sample_id: str) -> ObservedVideo:
    """The same with another id."""
    return replace(video, sample_id=sample_id)


def same(one: ObservedVideo, other: ObservedVideo) -> bool:
    """Whether all that is known of two videos is identical."""
    return (
        (one.time, one.sample_id, one.slice, one.clips)
        == (other.time, other.sample_id, other.slice, other.clips)
        and np.array_equal(one.integers, other.integers)
        and one.sums.tobytes() == other.sums.tobytes()
        and (one.gates is None) == (other.gates is None)
        and all(
            array.dtype == np.float32 and array.tobytes() == (other.gates or {})[kind].tobytes()
            for kind, array in (one.gates or {}).items()
        )
    )
