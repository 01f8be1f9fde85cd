"""Watches a model's traffic against its baseline, and says what began, changed or ended."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from ..alarm import Alarm, AlarmKind, Diagnosis, WindowReading
from ..baseline.baseline import Baseline
from ..counting.observed import ObservedVideo, ObservedVideos
from ..counting.videos import VideoCounts
from ..detectors import additive, broken, flagged
from ..diagnosis.diagnose import UNKNOWN, diagnose
from ..settings import WatchSettings
from .stream import WatchedStream
from .window import JudgedVideo

# Of so many processes the last video is remembered; those that wrote longest ago are forgotten.
_MOST_PROCESSES = 1000


@dataclass
class _Quiet:
    """Something that is not about gates: stale or missing traffic, losses of the log."""

    alarm: Alarm | None = None


class Watcher:
    """The detectors of all streams of one model: all traffic, and each slice that the baseline knows.

    Time comes from the caller, in seconds of a clock that only goes forward: a service's monotonic clock, or
    the videos' own times when an old log is read again. It serves stale traffic alone; windows are of videos.
    """

    def __init__(self, baseline: Baseline, settings: WatchSettings | None = None) -> None:
        self.baseline = baseline
        self.settings = settings or WatchSettings()
        self.videos = 0
        self._numbers = count(1)
        self._raised: Counter[AlarmKind] = Counter()
        self._streams = {
            name: WatchedStream(baseline, name, self.settings, self._diagnose)
            for name in ("", *baseline.slices)
        }
        self._last_of_process: dict[str, tuple[str, int, int]] = {}
        self._since_slice = dict.fromkeys(baseline.missing, 0)
        self._missing = {name: _Quiet() for name in baseline.missing}
        self._stale, self._loss = _Quiet(), _Quiet()
        self._last_now: float | None = None
        self._last_time = 0.0
        self._lost, self._lost_at = 0, -math.inf

    @property
    def raised(self) -> Counter[AlarmKind]:
        """How often each kind began to fire."""
        return sum((stream.raised for stream in self._streams.values()), self._raised)

    @property
    def firing(self) -> list[Alarm]:
        """The alarms that are not resolved."""
        gates = [stream.incident.alarm for stream in self._streams.values() if stream.incident]
        others = [self._stale, self._loss, *self._missing.values()]
        return gates + [quiet.alarm for quiet in others if quiet.alarm]

    def readings(self) -> dict[str, list[WindowReading]]:
        """By slice (empty: all traffic), what every window showed when it was last looked at."""
        return {
            name: [one for read in stream.readings.values() for one in read.listed()]
            for name, stream in self._streams.items()
        }

    def filled(self) -> dict[str, int]:
        """By slice, how many different videos its windows hold."""
        return {name: stream.filled for name, stream in self._streams.items()}

    def see(
        self, videos: Sequence[ObservedVideo], segments: Sequence[str] | None = None, *, now: float
    ) -> list[Alarm]:
        """Take in videos in the order they came; ``segments`` names the log segment of each."""
        if not videos:
            return []
        told = self._back(now)
        block = ObservedVideos.of(videos)
        sums = additive(block.counts)
        flags, bad = flagged(block.counts), np.asarray(broken(block.counts).any(axis=1))
        for number, video in enumerate(block):
            segment = segments[number] if segments else ""
            self.videos += 1
            self._last_time = video.time / 1e9
            gates = hash(video.integers.tobytes() + video.sums.tobytes())
            seen = JudgedVideo(
                # Without an id, samples of one request with the same gates are one video.
                key=video.sample_id or (video.time, gates),
                video=video,
                segment=segment,
                additive=sums[number],
                flags=flags[number],
                broken=bool(bad[number]),
                frozen=self._is_frozen(video, gates, segment),
            )
            everything = self._streams[""]
            found = everything.add(seen, self._number)
            if found and everything.incident is None:
                self._forget_in_slices()
            told += found
            stream = self._streams.get(video.slice) if video.slice else None
            if stream is not None:
                told += stream.add(seen, self._number, hold=everything.incident is not None)
            if self._since_slice:
                told += self._count_slices(video.slice)
        return told

    def tick(self, now: float) -> list[Alarm]:
        """Look at the clock: whether traffic is stale, whether losses have stopped."""
        told: list[Alarm] = []
        if self._last_now is None:
            self._last_now = now
        silent = now - self._last_now
        limit = self.settings.stale_seconds
        if silent >= limit and self._stale.alarm is None:
            reading = WindowReading("stale", "", None, 0, silent, 0.0, limit, 0.0, silent / limit)
            why = f"no video for {silent:.0f} s; alarmed from {limit:.0f} s on"
            told.append(self._begin(self._stale, "", "no traffic", why, reading))
        if self._loss.alarm is not None and now - self._lost_at >= limit:
            told.append(self._end(self._loss))
        return told

    def lost(self, videos: int, now: float) -> list[Alarm]:
        """Tell that the log has lost ``videos`` in all so far."""
        if videos <= self._lost:
            return []
        more, self._lost, self._lost_at = videos - self._lost, videos, now
        if self._loss.alarm is not None:
            return []
        reading = WindowReading("loss", "", None, 0, float(more), 0.0, 1.0, 0.0, float(more))
        why = f"{more} videos were not written to the log; inference went on"
        return [self._begin(self._loss, "", "log loss", why, reading)]

    def _back(self, now: float) -> list[Alarm]:
        silent = self.tick(now)
        self._last_now = now
        return [*silent, self._end(self._stale)] if self._stale.alarm is not None else silent

    def _forget_in_slices(self) -> None:
        """What all traffic has got over is no news in a slice, whose windows may still hold it."""
        for name, stream in self._streams.items():
            if name and stream.incident is None:
                stream.forget()

    def _count_slices(self, present: str) -> list[Alarm]:
        told: list[Alarm] = []
        for name, gap in self.baseline.missing.items():
            quiet = self._missing[name]
            if name == present:
                self._since_slice[name] = 0
                if quiet.alarm is not None:
                    told.append(self._end(quiet))
                continue
            self._since_slice[name] += 1
            absent = self._since_slice[name]
            if absent == gap and quiet.alarm is None:
                share = self.baseline.videos.slice_sizes[name] / len(self.baseline.videos)
                reading = WindowReading("missing", "", None, gap, 0.0, share, 1 / gap, 0.0, 1.0)
                why = f"none of the last {gap} videos is of {name}; in the baseline {share:.1%} are"
                told.append(self._begin(quiet, name, "slice missing", why, reading))
        return told

    def _begin(self, quiet: _Quiet, slice_: str, label: str, why: str, reading: WindowReading) -> Alarm:
        quiet.alarm = Alarm(
            number=self._number(),
            state="firing",
            model=self.baseline.model.version,
            slice=slice_,
            kinds=(reading.kind,),
            window=reading.window,
            first=self._last_time,
            last=self._last_time,
            videos=self.videos,
            diagnosis=Diagnosis(label, (why,)),
            readings=(reading,),
        )
        self._raised[reading.kind] += 1
        return quiet.alarm

    def _end(self, quiet: _Quiet) -> Alarm:
        assert quiet.alarm is not None
        ended = replace(quiet.alarm, state="resolved", last=self._last_time, videos=self.videos)
        quiet.alarm = None
        return ended

    def _number(self) -> int:
        return next(self._numbers)

    def _is_frozen(self, video: ObservedVideo, gates: int, segment: str) -> bool:
        """Whether a different video than the last of its process has gates that are equal to the last bit."""
        process = segment.rpartition("-")[0]
        before = self._last_of_process.pop(process, None)
        if len(self._last_of_process) >= _MOST_PROCESSES:
            self._last_of_process.pop(next(iter(self._last_of_process)))
        self._last_of_process[process] = (video.sample_id, video.time, gates)
        if before is None or before[2] != gates:
            return False
        return before[0] != video.sample_id if video.sample_id else before[1] != video.time

    def _diagnose(
        self, reference: VideoCounts, window: VideoCounts, readings: Sequence[WindowReading]
    ) -> Diagnosis:
        try:
            found = diagnose(self.baseline.signatures, self.baseline.layout, reference, window, readings)
        except Exception as error:  # an alarm without a name is better than none
            found = Diagnosis(UNKNOWN, (f"the diagnosis failed: {type(error).__name__}: {error}",))
        slices = {
            name: max((read.largest for read in stream.readings.values()), default=0.0)
            for name, stream in self._streams.items()
            if name and stream.readings
        }
        beyond = [name for name, excess in slices.items() if excess >= 1]
        if not beyond:
            return found
        within = [name for name in slices if name not in beyond]
        where = f"slices beyond their thresholds: {', '.join(beyond)}"
        where += f"; within: {', '.join(within)}" if within else ""
        return replace(found, evidence=(*found.evidence, where))
