"""One stream of traffic, all of it or one slice: its windows, and whether something is wrong in it now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..alarm import Alarm, AlarmKind, Diagnosis, Example, WindowReading
from ..baseline.baseline import Baseline
from ..counting.videos import VideoCounts
from ..detectors import DISTANCE_PLACES, FLAG_PLACES, distances
from ..settings import WatchSettings
from .readings import WindowReadings, read_window, reference_of
from .window import JudgedVideo, VideoWindow

Diagnose = Callable[[VideoCounts, VideoCounts, Sequence[WindowReading]], Diagnosis]
_MOST_READINGS = 12


@dataclass
class Incident:
    """Something that is wrong now.

    - ``windows``: sizes of the windows that fired. ``kinds``: the detectors. ``largest``: the excess of the
      worst reading when it was last diagnosed.
    - ``began``: videos of the stream when that was. ``next_look``: after how many more it is done again.
    - ``ending``: the smallest window is clean, and the larger ones have begun anew.
    """

    number: int
    windows: set[int]
    kinds: set[AlarmKind]
    largest: float
    began: int
    next_look: int
    alarm: Alarm
    ending: bool = False


class WatchedStream:
    """Watches one stream. ``diagnose(reference, window, readings)`` names what is wrong."""

    def __init__(self, baseline: Baseline, slice_: str, settings: WatchSettings, diagnose: Diagnose) -> None:
        self.slice = slice_
        self.videos = 0
        self.readings: dict[int, WindowReadings] = {}
        self.incident: Incident | None = None
        #: How often each kind began to fire.
        self.raised: Counter[AlarmKind] = Counter()
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

    def add(self, seen: JudgedVideo, number: Callable[[], int], *, hold: bool = False) -> list[Alarm]:
        """Take in a video and say what began, changed or ended; ``number()`` gives a new alarm's number.

        With ``hold`` nothing new is told: all traffic is already alarmed.
        """
        self._window.add(seen)
        self.videos += 1
        told: list[Alarm] = []
        for window in self._held:
            if (
                self.videos % max(window // self._settings.evaluations, 1) == 0
                and len(self._window) >= window
            ):
                told += self._evaluate(window, number, hold=hold)
        first = min(self._held)
        if self.incident is None and not hold and len(self._window) < first and seen.broken:
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
        certain = read.certain
        return [self._open(window, certain, number)] if certain is not None else []

    def _evaluate(self, window: int, number: Callable[[], int], *, hold: bool) -> list[Alarm]:
        places = self._window.last(window)
        read = read_window(self._reference, self._held[window], *self._window.sums(places))
        self.readings[window] = read
        if read.largest < 1:
            self._since.pop(window, None)
            self._clean.setdefault(window, self.videos)
            return self._close()
        self._clean.pop(window, None)
        since = self._since.setdefault(window, self.videos)
        sure = (
            read.certain is not None
            or read.largest >= self._settings.at_once
            or self._confirmed(window, since)
        )
        incident = self.incident
        if incident is None:
            return [self._open(window, read, number)] if sure and not hold else []
        if sure:
            incident.windows.add(window)
        if window == min(incident.windows):
            incident.ending = False
        # Something new, or twice as much: the fault that was told may hide another.
        if sure and (not incident.kinds.issuperset(read.kinds()) or read.largest >= 2 * incident.largest):
            return self._look_again(incident, window, places)
        if window == min(incident.windows) and self.videos - incident.began >= incident.next_look:
            # More of the fault is there to see: what it is may be clearer now.
            more = self.videos - incident.began
            return self._look_again(incident, window, self._window.last(window + more), 2 * more)
        return []

    def _confirmed(self, window: int, since: int) -> bool:
        """Whether a window has stayed beyond its threshold until none of what it first saw is in it."""
        confirm = self._settings.confirm
        if self.videos - since < confirm * window:
            return False
        return not confirm or self._window.renewed(window, since)

    def _open(self, window: int, read: WindowReadings, number: Callable[[], int]) -> Alarm:
        alarm = self._alarm(number(), window, read, self._window.last(window))
        kinds = set(read.kinds())
        self.raised.update(kinds)
        self.incident = Incident(alarm.number, {window}, kinds, read.largest, self.videos, window, alarm)
        return alarm

    def _look_again(
        self, incident: Incident, window: int, evidence: NDArray[np.intp], next_look: int = 0
    ) -> list[Alarm]:
        """Diagnose anew; ``next_look`` 0: as if it had just begun."""
        read, before = self.readings[window], incident.alarm
        if not next_look:
            incident.began, next_look = self.videos, window
        incident.next_look = next_look
        self.raised.update(set(read.kinds()) - incident.kinds)
        incident.kinds |= set(read.kinds())
        incident.largest = max(incident.largest, read.largest)
        incident.alarm = self._alarm(incident.number, window, read, evidence)
        return [incident.alarm] if incident.alarm.diagnosis.label != before.diagnosis.label else []

    def _close(self) -> list[Alarm]:
        """The incident is over when every window that fired was clean until none of that is in it.

        Larger windows hold the time of the fault for long: when the smallest is clean, they begin anew.
        """
        incident = self.incident
        if incident is None:
            return []
        smallest = min(incident.windows)
        if not incident.ending and self._was_clean(smallest):
            incident.ending = True
            self._window.keep(smallest)
            for larger in [size for size in self._held if size > smallest]:
                for kept in (self._since, self._clean, self.readings):
                    kept.pop(larger, None)
        if not incident.ending or not all(self._was_clean(window) for window in incident.windows):
            return []
        self.incident = None
        (_, last, _), *_ = self._window.told(self._window.last(1))
        return [replace(incident.alarm, state="resolved", last=last, videos=self.videos)]

    def _was_clean(self, window: int) -> bool:
        return window in self._clean and self._window.renewed(window, self._clean[window])

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

    def _examples(self, places: NDArray[np.intp], worst: WindowReading) -> tuple[Example, ...]:
        """The videos of the window that the worst reading comes from most."""
        if worst.layer is None:
            order = np.arange(len(places))
        else:
            layout = self._reference.layout
            row = layout.names.index(f"{worst.gate}.{worst.layer}")
            if worst.kind in DISTANCE_PLACES:
                own = distances(layout, self._window.additive(places), self._reference.sums)
                scores = np.abs(own[:, DISTANCE_PLACES[worst.kind], row])
            else:
                scores = self._window.flags(places)[:, FLAG_PLACES[worst.kind], row].astype(np.float64)
            order = np.argsort(-scores, kind="stable")
        chosen = places[order[: self._settings.examples]]
        return tuple(Example(name, time, segment) for name, time, segment in self._window.told(chosen))
