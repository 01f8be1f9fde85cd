"""Five faults of the audio, 200 streams each: found within 100 videos, and called by their names.

Two subjects, each with 1,000 videos for the baseline, of which 200 teach what faults do, and others as
traffic:

- a model whose gates listen to how well sound and picture agree: what all five faults disturb;
- the demo's model, whose gates hear applause, and nothing else of the sound. What its gates do not show the
  baseline must say, and no stream of it may be called anything.

A stream is 100 videos without a fault, then 100 with it, drawn anew; its variant is drawn by lot, of those
that the signatures call visible.

Goal: at least 95 % of the streams alarmed within 100 videos of the fault, with the right diagnosis.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gatescope.export.demo.plan import DEMO_SEED, make_plan
from gatescope.runtime.data.features import RawFeatures
from gatescope.runtime.data.prepare import prepare
from gatescope.runtime.monitor.baseline.baseline import Baseline, make_baseline
from gatescope.runtime.monitor.baseline.videos import BaselineVideos
from gatescope.runtime.monitor.counting.observed import ObservedVideo
from gatescope.runtime.monitor.counting.videos import VideoCounts
from gatescope.runtime.monitor.detection.watcher import Watcher
from gatescope.runtime.monitor.learning.injections import LABELS, injections
from gatescope.runtime.monitor.learning.learn import counts_of_samples, learn_from
from gatescope.runtime.monitor.model import WatchedModel
from gatescope.runtime.session.session import GateSession

from . import agreeing_model
from .demo_model import demo_model, demo_videos
from .row import Row

_BEFORE, _WITHIN, _AT_ONCE = 100, 100, 64


@dataclass(frozen=True)
class Sizes:
    """``baseline`` and ``pool`` videos, ``taught`` by so many of the baseline, ``streams`` of each label."""

    baseline: int
    taught: int
    pool: int
    streams: int


_FULL, _SHORT = Sizes(1000, 200, 1200, 200), Sizes(200, 60, 120, 5)


def measure(short: bool, tell: Callable[[str], None]) -> list[Row]:
    """Both subjects; in the short form the first alone, with few videos and streams."""
    sizes = _SHORT if short else _FULL
    rows = _subject("agreeing gates", agreeing_model.AgreeingModel(), agreeing_model.videos, sizes, tell)
    if short:
        return rows
    plan = make_plan(sizes.baseline + sizes.pool, DEMO_SEED)
    with tempfile.TemporaryDirectory() as folder, GateSession(demo_model(Path(folder))) as session:
        return rows + _subject("demo", session, lambda numbers: demo_videos(plan, numbers), sizes, tell)


def _subject(
    name: str,
    session: Any,
    videos: Callable[[Sequence[int]], list[RawFeatures]],
    sizes: Sizes,
    tell: Callable[[str], None],
) -> list[Row]:
    model = WatchedModel.of(session.manifest)
    everything = _counts(session, videos, range(sizes.baseline), {""})[""]
    names = [f"b{number}" for number in range(sizes.baseline)]
    known = BaselineVideos.of(model.layout, names, names, [""] * sizes.baseline, everything)
    baseline = make_baseline(model, [known])
    signatures = learn_from(session, baseline, videos(range(sizes.taught)))
    baseline = replace(baseline, signatures=signatures)
    for one in signatures.faults:
        like = f", like {', '.join(one.like)}" if one.like else ""
        tell(f"{name}: {one.label} ({one.variant}): {one.beyond:.0%} of windows of 50 beyond{like}")
    visible = {f"{one.label}: {one.variant}" for one in signatures.faults if one.visible}
    traffic = _counts(session, videos, range(sizes.baseline, sizes.baseline + sizes.pool), None)
    rows: list[Row] = []
    counted = rights = 0
    for label in LABELS:
        variants = [variant for variant in traffic if variant.startswith(f"{label}:")]
        seen = [variant for variant in variants if variant in visible]
        right, delays, said = _streams(baseline, traffic, label, seen or variants, sizes.streams)
        named = ", ".join(f"{word} {count}" for word, count in said.most_common())
        tell(f"{name}: {label}: {named}; the median after {np.median(delays):.0f} videos")
        if seen:
            counted += sizes.streams
            rights += right
            measured = f"{right / sizes.streams:.1%} right, the median after {np.median(delays):.0f} videos"
            met = right >= 0.95 * sizes.streams
            rows.append(Row(f"{name}: {label}", "at least 95 % right within 100", measured, met))
        else:
            quiet = said["no alarm"] / sizes.streams
            measured = f"said to be invisible; {quiet:.1%} of streams without an alarm"
            rows.append(
                Row(
                    f"{name}: {label}",
                    "named, or said to be invisible",
                    measured,
                    label in signatures.invisible,
                )
            )
    rows.append(
        Row(
            f"{name}: all that its gates show",
            "at least 95 % right within 100",
            f"{rights / max(counted, 1):.1%} of {counted} streams",
            rights >= 0.95 * counted,
        )
    )
    return rows


def _counts(
    session: Any,
    videos: Callable[[Sequence[int]], list[RawFeatures]],
    numbers: range,
    wanted: set[str] | None,
) -> dict[str, VideoCounts]:
    """The counts of the videos ``numbers`` without a fault (``""``) and, unless not ``wanted``, with each."""
    layout = WatchedModel.of(session.manifest).layout
    parts: dict[str, list[VideoCounts]] = {}
    for start in range(0, len(numbers), _AT_ONCE):
        raw = videos(numbers[start : start + _AT_ONCE])
        samples = [prepare(session.manifest, video=one.video, audio=one.audio, text=one.text) for one in raw]
        parts.setdefault("", []).append(counts_of_samples(session, layout, samples))
        if wanted is None:
            for injection in injections(session.manifest, raw, samples, None):
                broken = map(injection.apply, range(len(samples)))
                name = f"{injection.label}: {injection.variant}"
                parts.setdefault(name, []).append(counts_of_samples(session, layout, broken))
    return {name: VideoCounts.joined(own) for name, own in parts.items()}


def _streams(
    baseline: Baseline, traffic: dict[str, VideoCounts], label: str, variants: list[str], streams: int
) -> tuple[int, list[int], Counter[str]]:
    """How many streams end in the right diagnosis, after how many videos alarms came, what all ended in."""
    rng = np.random.default_rng([17, *label.encode()])
    delays: list[int] = []
    said: Counter[str] = Counter()
    for _ in range(streams):
        broken = traffic[variants[rng.integers(len(variants))]]
        order = rng.permutation(len(broken))
        watcher = Watcher(baseline)
        last, when = "no alarm", 0
        for number in range(_BEFORE + _WITHIN):
            own = traffic[""] if number < _BEFORE else broken
            at = int(order[number % len(order)])
            video = ObservedVideo(number * 10**8, f"v{number}", "", 75, own.integers[at], own.sums[at])
            for alarm in watcher.see([video], now=number / 10):
                if number >= _BEFORE and alarm.state == "firing":
                    when = when or number - _BEFORE + 1
                    last = alarm.diagnosis.label
        said[last] += 1
        if when:
            delays.append(when)
    return said[label], delays or [0], said
