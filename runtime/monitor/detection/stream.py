"""One stream of traffic, all of it or one slice: its windows, and whether something is wrong in it now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..alarm import Alarm, Diagnosis, Example, Kind, Reading
from ..baseline.baseline import Baseline
from ..baseline.statistics import CONTINUOUS, continuous
from ..counting.videos import VideoCounts
from .readings import WindowReadings, read_window, reference_of
from .settings import WatchSettings
from .window import FLAGS, Seen, VideoWindow

Diagnose = Callable[[VideoCounts, VideoCounts, Sequence[Reading]], Diagnosis]
_MOST_READINGS = 12


@dataclass
class Incident:
    """Something that is wrong now.

    - ``windows``: sizes of the windows that fired. ``began``: videos of the stream when it was found.
      ``next_look``: after how many more it is diagnosed again.
    """

    number: int
    windows: set[int]
    began: int
    next_look: int
    alarm: Alarm


class Stream:
    """Watches one stream. ``diagnose(reference, window, readings)`` names what is wrong."""

    def __init__(self, baseline: Baseline, slice_: str, settings: WatchSettings, diagnose: Diagnose) -> None:
        self.slice = slice_
        self.videos = 0
        self.readings: dict[int, WindowReadings] = {}
        self.incident: Incident | None = None
        self._model = baseline.model.version
        self._settings = settings
        self._diagnose = diagnose
        self._baseline = baseline.counts_of(slice_)
        self._held = {one.window: one for one in baseline.thresholds[slice_]}
        self._window = VideoWindow(baseline.layout, max(self._held))
        self._reference = reference_of(baseline, slice_)
        # By window size: at how many videos it went beyond a threshold, or came back, and stayed so.
        self._since: dict[int, int] = {}
        self._clean: dict[int, int] = {}

    def add(self, seen: Seen, number: Callable[[], int], *, hold: bool = False) -> list[Alarm]:
        """Take in a video and say what began, changed or ended; ``number()`` gives a new alarm's number.

        With ``hold`` nothing new is told: all traffic is already alarmed.
        """
        if not self._window.add(seen):
            return []
        self.videos += 1
        told: list[Alarm] = []
        for window in self._held:
            if (
                self.videos % max(window // self._settings.evaluations, 1) == 0
                and len(self._window) >= window
            ):
                told += self._evaluate(window, number, hold=hold)
        first = min(self._held)
        if self.incident is None and not hold and len(self._window) < first and seen.flags[-1].any():
            told += self._numbers_gone(first, number)
        return told

    @property
    def filled(self) -> int:
        """Different videos that the windows hold now."""
        return len(self._window)

    def forget(self) -> None:
        """Begin anew with empty windows."""
        self._window.keep(0)
        for kept in (self._since, self._clean, self.readings):
            kept.clear()

    def _numbers_gone(self, window: int, number: Callable[[], int]) -> list[Alarm]:
        """Gates that are no numbers are told before the first window is full."""
        places = self._window.last(window)
        read = read_window(self._reference, self._held[window], *self._window.sums(places))
        only: dict[Kind, NDArray[np.float64]] = {"nan": read.excess["nan"]}
        read = replace(read, excess=only)
        return [self._open(window, read, number)] if read.largest >= 1 else []

    def _evaluate(self, window: int, number: Callable[[], int], *, hold: bool) -> list[Alarm]:
        places = self._window.last(window)
        read = read_window(self._reference, self._held[window], *self._window.sums(places))
        self.readings[window] = read
        if read.largest < 1:
            self._since.pop(window, None)
            since = self._clean.setdefault(window, self.videos)
            return self._close(window, since)
        self._clean.pop(window, None)
        since = self._since.setdefault(window, self.videos)
        sure = (
            float(read.excess["nan"].max()) >= 1
            or read.largest >= self._settings.at_once
            or self.videos - since >= self._settings.confirm * window
        )
        incident = self.incident
        if incident is None:
            return [self._open(window, read, number)] if sure and not hold else []
        if sure:
            incident.windows.add(window)
        if window == min(incident.windows) and self.videos - incident.began >= incident.next_look:
            return self._look_again(incident, window)
        return []

    def _open(self, window: int, read: WindowReadings, number: Callable[[], int]) -> Alarm:
        alarm = self._alarm(number(), window, read, self._window.last(window))
        self.incident = Incident(alarm.number, {window}, self.videos, window, alarm)
        return alarm

    def _look_again(self, incident: Incident, window: int) -> list[Alarm]:
        """More of the fault is there to see: what it is may be clearer now."""
        since = self.videos - incident.began
        incident.next_look = 2 * since
        before = incident.alarm
        places = self._window.last(min(window + since, self._window.size))
        alarm = self._alarm(incident.number, window, self.readings[window], places)
        incident.alarm = alarm
        return [alarm] if alarm.diagnosis.label != before.diagnosis.label else []

    def _close(self, window: int, since: int) -> list[Alarm]:
        incident = self.incident
        # Two windows that share no video are clean.
        if incident is None or window != min(incident.windows) or self.videos - since < window:
            return []
        # Larger windows still hold the time of the fault; they begin anew.
        self._window.keep(window)
        for larger in [size for size in self._held if size > window]:
            self._since.pop(larger, None)
            self.readings.pop(larger, None)
        self.incident = None
        (_, last, _), *_ = self._window.told(self._window.last(1))
        return [replace(incident.alarm, state="resolved", last=last, videos=self.videos)]

    def _alarm(self, number: int, window: int, read: WindowReadings, evidence: NDArray[np.intp]) -> Alarm:
        places = self._window.last(window)
        readings = read.firing()
        diagnosis = self._diagnose(self._baseline, self._window.counts(evidence), readings)
        times = [time for _, time, _ in self._window.told(places)]
        return Alarm(
            number=number,
            state="firing",
            model=self._model,
            slice=self.slice,
            kinds=read.kinds(),
            window=window,
            first=min(times),
            last=max(times),
            videos=self.videos,
            diagnosis=diagnosis,
            readings=tuple(readings[:_MOST_READINGS]),
            examples=self._examples(places, readings[0]) if readings else (),
        )

    def _examples(self, places: NDArray[np.intp], worst: Reading) -> tuple[Example, ...]:
        """The videos of the window that the worst reading comes from most."""
        if worst.layer is None:
            order = np.arange(len(places))
        else:
            layout = self._reference.layout
            row = layout.names.index(f"{worst.gate}.{worst.layer}")
            if worst.kind in CONTINUOUS:
                own = continuous(layout, self._window.additive(places), self._reference.sums)
                scores = np.abs(own[:, CONTINUOUS.index(worst.kind), row])
            else:
                scores = self._window.flags(places)[:, FLAGS.index(worst.kind), row].astype(np.float64)
            order = np.argsort(-scores, kind="stable")
        chosen = places[order[: self._settings.examples]]
        return tuple(Example(name, time, segment) for name, time, segment in self._window.told(chosen))
