"""An old gate log through the watcher, with any setting: what it would have told, and when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from ..alarm import Alarm
from ..baseline.baseline import Baseline, make_baseline
from ..describe import alarm_text, moment
from ..detection.watcher import Watcher
from ..log.folder import open_folder
from ..log.reader import read_log
from ..log.segment import LoggedVideo
from ..settings import WatchSettings

# Videos that are shown to the watcher at once; fewer where time passes between them.
_TOGETHER, _SECONDS = 64, 5.0


@dataclass(frozen=True)
class Replay:
    """``alarms``: all that began, changed or ended, in order. ``first``, ``last``: Unix seconds."""

    folder: str
    videos: int
    first: float
    last: float
    alarms: tuple[Alarm, ...]
    windows: tuple[int, ...]
    false_alarms: float

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects."""
        return msgspec.to_builtins(self)

    def text(self) -> str:
        """A report for people."""
        began = len({alarm.number for alarm in self.alarms})
        span = f", {moment(self.first)} to {moment(self.last)}" if self.videos else ""
        lines = [
            f"{self.folder}: {self.videos} videos{span}",
            f"windows of {', '.join(map(str, self.windows))}, false alarms {self.false_alarms:.3g} a window:"
            f" {began} alarm{'s' if began != 1 else ''}",
        ]
        return "\n".join([*lines, *(alarm_text(alarm) for alarm in self.alarms)])


def replay(
    folder: str | Path,
    baseline: Baseline,
    settings: WatchSettings | None = None,
    *,
    windows: Sequence[int] | None = None,
    false_alarms: float | None = None,
    advance: Callable[[int], object] = lambda _: None,
) -> Replay:
    """Everything in ``folder``, by time, past a watcher; ``windows`` and ``false_alarms`` give new
    thresholds.

    Time is that of the log. Raises :class:`~gatescope.runtime.errors.GateLogError` for a folder that is no
    log and :class:`~gatescope.runtime.errors.BaselineError` for a baseline of another model.
    """
    log = open_folder(folder)
    baseline.check_model(log.model, str(folder))
    if windows is not None or false_alarms is not None:
        baseline = remade(baseline, windows, false_alarms)
    watcher = Watcher(baseline, settings)
    alarms: list[Alarm] = []
    videos, first, clock = 0, 0.0, 0.0
    block: list[LoggedVideo] = []

    def show() -> None:
        nonlocal clock
        if block:
            if block[0].video.time / 1e9 - clock >= watcher.settings.stale_seconds:
                alarms.extend(watcher.tick(clock + watcher.settings.stale_seconds))
            # The clock only goes forward, whatever the services' clocks did.
            clock = max(clock, block[-1].video.time / 1e9)
            own = [one.video for one in block]
            alarms.extend(watcher.see(own, [one.segment for one in block], now=clock))
            advance(len(block))
            block.clear()

    for one in read_log(folder):
        at = one.video.time / 1e9
        if not videos:
            first = clock = at
        if block and (len(block) == _TOGETHER or abs(at - block[0].video.time / 1e9) > _SECONDS):
            show()
        block.append(one)
        videos += 1
    show()
    return Replay(str(folder), videos, first, clock, tuple(alarms), baseline.windows, baseline.false_alarms)


def remade(baseline: Baseline, windows: Sequence[int] | None, false_alarms: float | None) -> Baseline:
    """``baseline`` with thresholds for other windows, or at another rate of false alarms."""
    made = make_baseline(
        baseline.model,
        [baseline.videos],
        sources=baseline.sources,
        windows=windows or baseline.windows,
        false_alarms=false_alarms or baseline.false_alarms,
        insist=True,
    )
    return replace(made, signatures=baseline.signatures, signatures_note=baseline.signatures_note)
