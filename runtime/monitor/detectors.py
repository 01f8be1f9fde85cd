"""The detectors, one object each: what it measures, when that is too much, and what people read about it.

A window of videos is compared with the baseline by sums of counts alone. A new detector is an entry of
:data:`DETECTORS` and a word of :data:`~gatescope.runtime.monitor.alarm.AlarmKind`; baselines, the watcher,
messages, alert rules, dashboard and metrics read the table. A baseline that was made before it gets its
threshold when it is loaded.

Rare values are counted by video and not by clip, because those of one video come together: the share of
saturated clips in a window is that of a few videos.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..array_types import Float64s
from .alarm import AlarmKind
from .counting.layout import COUNTED_BINS, GateLayout
from .counting.videos import VideoCounts

# Columns that add up over videos: the cumulative histogram, the sum of gates, how many values.
STATISTIC_COLUMNS = COUNTED_BINS + 2
_SUM, _COUNT = COUNTED_BINS, COUNTED_BINS + 1

SHARE_OF_VIDEOS, SECONDS = "share of videos", "s"


@dataclass(frozen=True)
class Distance:
    """How far a window is from the baseline in each row; its threshold is drawn from the baseline's videos.

    - ``of(layout, window, baseline)``: (…, R); ``window`` (…, R, 66) and ``baseline`` (R, 66) are sums of
      :func:`additive`, and both have values in every row.
    - ``two_sided``: whether it can be too small as well as too large.
    - ``level``: where given, the quantity (…, R) whose difference ``of`` is, as a share of the range; it is
      shown in that quantity's own unit.
    """

    of: Callable[[GateLayout, Float64s, Float64s], Float64s]
    two_sided: bool = False
    level: Callable[[Float64s], Float64s] | None = None


@dataclass(frozen=True)
class VideoFlag:
    """Which videos stand out in which row; the window has too many of them.

    - ``of``: (N, R), true or false. ``counter``: the counter that says the same, empty where none does.
    - ``never_by_chance``: one video is too many. Else the threshold comes from how many videos of the
      baseline have the flag.
    """

    of: Callable[[VideoCounts], NDArray[np.bool_]]
    counter: str = ""
    never_by_chance: bool = False


@dataclass(frozen=True)
class RepeatedGates:
    """How many videos of the window have the gates of the video before, to the last bit.

    ``least``: the threshold is never below this share of the window.
    """

    least: float


@dataclass(frozen=True)
class Alert:
    """The Prometheus alert of a detector: its name, its severity, and what to do first."""

    name: str
    severity: Literal["warning", "critical"]
    first_step: str


@dataclass(frozen=True)
class Detector:
    """One kind of alarm.

    - ``meaning``: what it looks for, in words. ``unit``: of its readings.
    - ``measure``: what it reads off a window; None where it does not watch windows.
    - ``alert``: None where the rule looks at the services' own metrics, which need no watcher.
    - ``in_slices``: whether it can fire in one slice of the traffic.
    """

    kind: AlarmKind
    meaning: str
    unit: str
    measure: Distance | VideoFlag | RepeatedGates | None = None
    alert: Alert | None = None
    in_slices: bool = True

    @property
    def is_share(self) -> bool:
        """Whether its readings are shares of videos, at most 1."""
        return self.unit == SHARE_OF_VIDEOS


def additive(counts: VideoCounts) -> Float64s:
    """What the distances need of each video, (N, R, 66): it adds up over videos."""
    places = counts.places.astype(np.float64)
    inside = places[..., 1:-1].copy()
    inside[..., 0] += places[..., 0]
    inside[..., -1] += places[..., -1]
    table = np.empty((*places.shape[:-1], STATISTIC_COLUMNS))
    np.cumsum(inside, axis=-1, out=table[..., :COUNTED_BINS])
    table[..., _SUM] = counts.sum_of("sum")
    table[..., _COUNT] = table[..., COUNTED_BINS - 1]
    return table


def levels(sums: Float64s) -> Float64s:
    """Mean gate of every row, (…, R); ``sums`` (…, R, 66)."""
    return sums[..., _SUM] / np.maximum(sums[..., _COUNT], 1)


def _wasserstein(layout: GateLayout, window: Float64s, baseline: Float64s) -> Float64s:
    """The Wasserstein-1 distance over the 64 bins, as a share of the range; values beyond the range count in
    the outermost bins. It is the mean distance of the two cumulative histograms."""
    shares = window[..., :COUNTED_BINS] / np.maximum(window[..., _COUNT], 1)[..., None]
    shares -= baseline[..., :COUNTED_BINS] / np.maximum(baseline[..., _COUNT], 1)[..., None]
    return np.abs(shares, out=shares).mean(axis=-1)


def _mean_difference(layout: GateLayout, window: Float64s, baseline: Float64s) -> Float64s:
    """The mean gate less the baseline's, as a share of the range."""
    return (levels(window) - levels(baseline)) / np.maximum(layout.high - layout.low, 1e-12)


def _counted(counter: str) -> VideoFlag:
    """The flag that is counted while gates are counted, one of ``VIDEO_COUNTERS``."""
    return VideoFlag(lambda counts: counts.counter(counter) > 0, counter)


_DIAGNOSIS_FIRST = "Read the diagnosis on the dashboard, then look at the example ids of the alarm."

#: Every detector, in the order in which readings and metrics list them.
DETECTORS: dict[AlarmKind, Detector] = {
    one.kind: one
    for one in (
        Detector(
            "drift",
            "gate distribution has shifted",
            "distance as a share of the gate's range",
            Distance(_wasserstein),
            Alert("GateDrift", "warning", _DIAGNOSIS_FIRST),
        ),
        Detector(
            "level",
            "gates are higher or lower on average",
            "mean gate",
            Distance(_mean_difference, two_sided=True, level=levels),
            Alert("GateLevel", "warning", _DIAGNOSIS_FIRST),
        ),
        Detector(
            "saturation",
            "more videos whose gates are mostly saturated",
            SHARE_OF_VIDEOS,
            _counted("saturating"),
            Alert("GateSaturation", "warning", "Compare the features' scale with what training used."),
        ),
        Detector(
            "collapse",
            "more videos whose gates are at zero throughout",
            SHARE_OF_VIDEOS,
            _counted("collapsed"),
            Alert(
                "GateCollapse", "critical", "Check that recent videos have audio and that it is not silent."
            ),
        ),
        Detector(
            "constant",
            "more videos whose gates do not change over their clips",
            SHARE_OF_VIDEOS,
            _counted("constant"),
            Alert("GateConstant", "critical", "Check that features change over a video's clips."),
        ),
        Detector(
            "frozen",
            "different videos have the same gates to the last bit",
            SHARE_OF_VIDEOS,
            # One video may be there twice under two ids; gates that froze are those of one worker in ten.
            RepeatedGates(least=0.1),
            Alert("GatesFrozen", "critical", "Check that features are refreshed for every request."),
        ),
        Detector(
            "nan",
            "NaN or infinite gates",
            SHARE_OF_VIDEOS,
            VideoFlag(
                lambda counts: counts.counter("nan") + counts.counter("infinite") > 0, never_by_chance=True
            ),
            Alert("GateNaN", "critical", "Look for NaN in the features of the alarm's examples."),
        ),
        Detector("stale", "no traffic", SECONDS, in_slices=False),
        Detector(
            "missing",
            "a slice of the traffic is missing",
            "share of traffic",
            alert=Alert("SliceMissing", "warning", "Check the source of this slice of the traffic."),
        ),
        Detector("loss", "videos were not written to the log", "videos", in_slices=False),
    )
}

DISTANCES: dict[AlarmKind, Distance] = {
    kind: one.measure for kind, one in DETECTORS.items() if isinstance(one.measure, Distance)
}
FLAGS: dict[AlarmKind, VideoFlag] = {
    kind: one.measure for kind, one in DETECTORS.items() if isinstance(one.measure, VideoFlag)
}
#: The places of the detectors' rows in arrays of distances and of flags.
DISTANCE_PLACES: dict[AlarmKind, int] = {kind: at for at, kind in enumerate(DISTANCES)}
FLAG_PLACES: dict[AlarmKind, int] = {kind: at for at, kind in enumerate(FLAGS)}
#: Of a window as a whole.
REPEATED: dict[AlarmKind, RepeatedGates] = {
    kind: one.measure for kind, one in DETECTORS.items() if isinstance(one.measure, RepeatedGates)
}


def distances(layout: GateLayout, window: Float64s, baseline: Float64s) -> Float64s:
    """Every distance of every row, (…, D, R).

    ``window`` (…, R, 66) and ``baseline`` (R, 66): sums of :func:`additive`. Where a row has no finite value
    in one of them, its distances are 0: its NaN are counted elsewhere.
    """
    known = (window[..., _COUNT] > 0) & (baseline[..., _COUNT] > 0)
    found = np.stack([one.of(layout, window, baseline) for one in DISTANCES.values()], axis=-2)
    return np.where(known[..., None, :], found, 0.0)


def flagged(counts: VideoCounts) -> NDArray[np.bool_]:
    """Which videos have which flag in which row, (N, F, R)."""
    return np.stack([one.of(counts) for one in FLAGS.values()], axis=1)


def broken(counts: VideoCounts) -> NDArray[np.bool_]:
    """Which videos have a flag in a row that healthy gates never have, (N, R)."""
    found = [one.of(counts) for one in FLAGS.values() if one.never_by_chance]
    return np.logical_or.reduce(found, axis=0)
