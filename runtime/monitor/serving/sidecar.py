"""Watches a gate log from beside the services that write it: all their processes, as one traffic."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal

from ..alarm import Alarm
from ..baseline.baseline import Baseline
from ..detection.watcher import Watcher
from ..log.folder import open_folder
from ..log.follower import LogFollower
from ..metrics.state import MetricsSnapshot, merged_state
from ..settings import WatchSettings
from .delivery import AlarmDelivery
from .worker import detection_of, monitor_versions


class Sidecar:
    """The watcher of the gate log in ``folder``, against ``baseline``.

    ``start``: ``end`` for what comes from now on, ``beginning`` for all that is there as well. ``on_alarm``:
    a command or a function. Call :meth:`step` a few times a second; :meth:`snapshot` may be called from
    another thread. A context manager.

    Raises :class:`~gatescope.runtime.errors.GateLogError` for a folder that is no log and
    :class:`~gatescope.runtime.errors.BaselineError` for a baseline of another model.
    """

    def __init__(
        self,
        folder: str | Path,
        baseline: Baseline,
        *,
        settings: WatchSettings | None = None,
        on_alarm: str | Callable[[Alarm], object] | None = None,
        start: Literal["end", "beginning"] = "end",
    ) -> None:
        self.log = open_folder(folder)
        baseline.check_model(self.log.model, str(folder))
        self.delivery = AlarmDelivery(self.log.path, on_alarm)
        self._baseline = baseline
        self._watcher = Watcher(baseline, settings)
        self._follower = LogFollower(self.log, start)
        self._lock = threading.Lock()

    @property
    def problems(self) -> dict[str, str]:
        """Segments that cannot be followed, and why."""
        return self._follower.problems

    @property
    def videos(self) -> int:
        """Seen so far."""
        return self._watcher.videos

    def step(self) -> list[Alarm]:
        """Read what is new, watch it, deliver what there is to tell; returns it as well."""
        now = time.monotonic()
        with self._lock:
            new = self._follower.poll()
            alarms = self._watcher.see([one.video for one in new], [one.segment for one in new], now=now)
            alarms += self._watcher.tick(now)
            alarms += self._watcher.lost(self._follower.lost, now)
        self.delivery.tell(alarms)
        return alarms

    def snapshot(self) -> MetricsSnapshot:
        """This moment: what the services have counted, what the watcher sees."""
        with self._lock:
            return MetricsSnapshot(
                self.log.model,
                merged_state(self.log.state, self.log.model.layout),
                detection_of(self._watcher, self._baseline),
                deliveries_failed=self.delivery.failures,
                faults=len(self._follower.problems),
                versions=monitor_versions(),
            )

    def close(self) -> None:
        """Release the log's files, and wait for the last alarm to be delivered."""
        self._follower.close()
        self.delivery.close()

    def __enter__(self) -> Sidecar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
