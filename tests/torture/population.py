"""A population of videos whose gates look like those of trained models, to draw traffic from.

Eight rows of clipwise gates. Every video has levels of its own (heavy-tailed: Student's t with 5 degrees of
freedom), its clips wander about them (AR(1), 0.7), and one video in twenty is silent: its gates are near zero
throughout, as a legitimately silent track makes them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gatescope.runtime.monitor.counting.layout import GateLayout
from gatescope.runtime.monitor.counting.observed import ObservedVideo
from gatescope.runtime.monitor.counting.videos import VideoCounts, count_gates
from gatescope.runtime.monitor.model import WatchedModel

LAYERS, CLIPS = 4, 75
LAYOUT = GateLayout.of([(kind, layer, -1.0, 1.0) for kind in ("attention", "ffn") for layer in range(LAYERS)])
MODEL = WatchedModel(
    "c" * 64, "audio_video", "clipwise", "exact", "float32", "r" * 64, LAYOUT.ranges, depends_on_text=False
)
_LEVELS = np.random.default_rng(5).normal(0, 0.7, 2 * LAYERS)
_AT_ONCE = 2000


def population(
    videos: int, rng: np.random.Generator, silent: float = 0.05, shift: float = 0.0
) -> VideoCounts:
    """``videos`` of them; ``shift`` moves every gate before its tanh."""
    parts: list[VideoCounts] = []
    for start in range(0, videos, _AT_ONCE):
        count = min(_AT_ONCE, videos - start)
        own = rng.normal(0, 0.3, (count, 2 * LAYERS, 1)) + 0.15 * rng.standard_t(5, (count, 1, 1))
        wander = rng.normal(0, 0.4, (count, 2 * LAYERS, CLIPS))
        for clip in range(1, CLIPS):
            wander[:, :, clip] = 0.7 * wander[:, :, clip - 1] + 0.714 * wander[:, :, clip]
        gates = np.tanh(_LEVELS[:, None] + shift + own + wander)
        gates[rng.random(count) < silent] *= 0.02
        blocks = gates.astype(np.float32)[..., None]
        parts.append(count_gates(LAYOUT, {"attention": blocks[:, :LAYERS], "ffn": blocks[:, LAYERS:]}))
    return VideoCounts.joined(parts)


def observed(
    counts: VideoCounts, which: Sequence[int], *, first: int = 0, slices: Sequence[str] | None = None
) -> list[ObservedVideo]:
    """Videos of ``counts`` as traffic at ten a second, with ids of their own from ``first`` on."""
    return [
        ObservedVideo(
            time=(first + number) * 10**8,
            sample_id=f"v{first + number}",
            slice=slices[number] if slices else "",
            clips=CLIPS,
            integers=counts.integers[at],
            sums=counts.sums[at],
        )
        for number, at in enumerate(which)
    ]
