"""A million requests through a monitor with everything on: log, baseline, alarms, state, metrics.

Goal: the process grows by less than 5 MB, and holds as many file descriptors as in the beginning. Growth is
counted from the 20,000th request on, when every window, buffer and cache is full; memory is what is resident,
after a collection.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gatescope.runtime.monitor.baseline.baseline import make_baseline
from gatescope.runtime.monitor.baseline.videos import BaselineVideos
from gatescope.runtime.monitor.counting.videos import count_gates
from gatescope.runtime.monitor.metrics.server import exposition
from gatescope.runtime.monitor.model import WatchedModel
from gatescope.runtime.monitor.serving.monitor import Monitor
from gatescope.runtime.monitor.serving.session import MonitoredSession
from gatescope.runtime.monitor.settings import LogSettings, MonitorSettings

from ..runtime.tiny_model import tiny_manifest
from .overhead import InstantSession
from .row import Row

_CLIPS, _LAYERS = 75, 4


def measure(short: bool, tell: Callable[[str], None]) -> list[Row]:
    """Requests, memory and descriptors."""
    requests, settled = (4_000, 1_000) if short else (1_000_000, 20_000)
    manifest = tiny_manifest("clipwise", _LAYERS)
    model = WatchedModel.of(manifest)
    rng = np.random.default_rng(4)
    own = rng.normal(0, 0.5, (500, 2 * _LAYERS, 1, 1))
    pool = np.tanh(own + rng.normal(0, 0.3, (500, 2 * _LAYERS, _CLIPS, 1))).astype(np.float32)
    counts = count_gates(model.layout, {"attention": pool[:, :_LAYERS], "ffn": pool[:, _LAYERS:]})
    names = [f"b{number}" for number in range(len(pool))]
    baseline = make_baseline(
        model, [BaselineVideos.of(model.layout, names, names, ["a"] * len(pool), counts)]
    )
    answers = {"gate_attention": pool[:1, :_LAYERS], "gate_ffn": pool[:1, _LAYERS:]}
    feed = {"src_vid_mask": np.ones((1, _CLIPS), np.float32)}
    # The process that seals the last segments may still be at it in the end.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # Segments of 8 MB, so that they rotate and are removed many times on the way.
        log = LogSettings(segment_bytes=8 * 2**20, keep_bytes=32 * 2**20, seal=not short)
        settings = MonitorSettings(log=log, keep_gates=0.01)
        with Monitor(Path(folder) / "log", baseline=baseline, settings=settings) as monitor:
            session = InstantSession(manifest, answers)
            monitored = MonitoredSession(session, monitor)
            memory, descriptors = 0, 0
            peak = 0
            for number in range(requests):
                if number == settled:
                    monitor.flush()
                    memory, descriptors = _resident(), _descriptors()
                at = number % len(pool)
                one = pool[at : at + 1]
                session.answer(gate_attention=one[:, :_LAYERS], gate_ffn=one[:, _LAYERS:])
                # Labels beyond the bound, ids that never come again, now and then a very long one.
                long = "x" * 10_000 if number % 10_000 == 0 else ""
                monitored.run(None, feed, ids=f"v{number}{long}", slice=f"s{number % 50}")
                if number % 2_000 == 0:
                    # As fast as the monitor can: nothing may be dropped in a soak.
                    monitor.flush()
                if number % 50_000 == 0:
                    exposition(monitor.snapshot())
                    peak = max(peak, _resident() - memory if memory else 0)
                    tell(f"{number} requests, {_resident() / 2**20:.1f} MB, {_descriptors()} descriptors")
            monitor.flush()
            grown = _resident() - memory
            more = _descriptors() - descriptors
            dropped, faults = monitor.dropped, monitor.faults
            acknowledged = monitor.log.acknowledged if monitor.log else 0
    measured = f"{requests} requests: {grown / 2**20:+.1f} MB, at most {peak / 2**20:+.1f} on the way"
    tell(measured)
    all_there = dropped == 0 and faults == 0 and acknowledged == requests
    return [
        Row("soak: memory", "growth < 5 MB", measured, grown < 5 * 2**20),
        Row("soak: descriptors", "constant", f"{more:+d}", more == 0),
        Row(
            "soak: every video logged",
            "none dropped, no fault",
            f"{acknowledged} acknowledged, {dropped} dropped, {faults} faults",
            all_there,
        ),
    ]


def _resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
