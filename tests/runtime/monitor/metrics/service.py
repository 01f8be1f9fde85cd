"""A service in a process of its own: ``python -m tests.runtime.monitor.metrics.service FOLDER SEED VIDEOS``.

Answers ``VIDEOS`` requests under a monitor with the log ``FOLDER``, prints what it serves as metrics, and
closes its monitor when its standard input ends.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from gatescope.runtime.monitor.metrics.server import exposition
from gatescope.runtime.monitor.model import WatchedModel
from gatescope.runtime.monitor.serving.monitor import Monitor
from gatescope.runtime.monitor.serving.taps import Tapped
from gatescope.runtime.monitor.settings import LogSettings, MonitorSettings

from ....waiting import PATIENCE
from ...tiny_model import tiny_manifest

LAYERS = 2
MANIFEST = tiny_manifest("clipwise", LAYERS)
MODEL = WatchedModel.of(MANIFEST)
SETTINGS = MonitorSettings(poll_seconds=0.01, log=LogSettings(seal=False))
#: What is counted is forced to the disk in the same round: no test has to wait for the clock.
DURABLE = replace(SETTINGS, log=replace(SETTINGS.log, sync_seconds=0.0))


def answers(seed: int, videos: int) -> np.ndarray:
    """Gates of so many videos, (videos, 4, 20, 1)."""
    rng = np.random.default_rng(seed)
    return np.tanh(rng.normal(0.1, 0.6, (videos, 2 * LAYERS, 20, 1))).astype(np.float32)


def by_kind(gates: np.ndarray) -> dict[str, np.ndarray]:
    """Attention's rows and those of ffn."""
    return {"attention": gates[:, :LAYERS], "ffn": gates[:, LAYERS:]}


def serve(monitor: Monitor, gates: np.ndarray) -> None:
    """One request a video, of two slices in turns. Recorded ones: loading a real session takes seconds."""
    monitor.bind(MANIFEST)
    for number in range(len(gates)):
        answer = by_kind(gates[number : number + 1])
        tapped = Tapped(None, lambda answer=answer: answer, dict, shared=False)
        monitor.offer(tapped, False, [f"v{number}"], ("ko", "en")[number % 2])


if __name__ == "__main__":
    with Monitor(Path(sys.argv[1]), settings=DURABLE) as own:
        serve(own, answers(int(sys.argv[2]), int(sys.argv[3])))
        own.flush(PATIENCE)
        print(exposition(own.snapshot()), "---", sep="", flush=True)
        sys.stdin.read()
