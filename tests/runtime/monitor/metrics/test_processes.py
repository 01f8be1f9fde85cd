"""Several processes of one service: each shows the same truth, and a dead one's part of it stays."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gatescope.runtime.monitor.counting.videos import VideoCounts, count_gates
from gatescope.runtime.monitor.metrics.server import exposition
from gatescope.runtime.monitor.serving.monitor import Monitor

from ....waiting import PATIENCE
from .service import DURABLE, MODEL, answers, by_kind, serve
from .snapshots import Samples, samples, series, value

ROOT = Path(__file__).parents[4]


@contextmanager
def service(folder: Path, seed: int, videos: int) -> Iterator[subprocess.Popen[str]]:
    """A service that goes on until it is told to end."""
    command = [sys.executable, "-m", "tests.runtime.monitor.metrics.service"]
    with subprocess.Popen(
        [*command, str(folder), str(seed), str(videos)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def shown(process: subprocess.Popen[str]) -> Samples:
    """What the service has printed, once it has answered everything."""
    assert process.stdout is not None
    lines = list(iter(process.stdout.readline, "---\n"))
    assert lines and lines[-1] != ""
    return samples("".join(lines))


def assert_counted(found: Samples, counts: VideoCounts) -> None:
    """Every bucket and count, against the sum over videos."""
    assert value(found, "requests_total") == len(counts)
    assert value(found, "log_acknowledged_videos_total") == len(counts)
    assert sum(series(found, "videos_total").values()) == len(counts)
    edges = range(4, 65, 4)
    for row, (kind, layer, _, _) in enumerate(MODEL.gates):
        labels = {"gate": kind, "layer": str(layer)}
        places = counts.places[:, row].sum(axis=0)
        buckets = {dict(own)["le"]: one for own, one in series(found, "gate_value_bucket", **labels).items()}
        by_edge = [buckets[edge] for edge in sorted(buckets, key=float)]
        assert by_edge == [places[: edge + 1].sum() for edge in edges] + [places.sum()]
        absolute, total = counts.sum_of("absolute")[:, row].sum(), counts.sum_of("sum")[:, row].sum()
        positive = value(found, "gate_positive_sum_total", **labels)
        negative = value(found, "gate_negative_sum_total", **labels)
        np.testing.assert_allclose([positive + negative, positive - negative], [absolute, total], rtol=1e-9)


def test_processes_share_one_truth_and_what_a_dead_one_counted_stays(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    pools = [answers(1, 30), answers(2, 50), answers(3, 20)]
    counts = [count_gates(MODEL.layout, by_kind(pool)) for pool in pools]
    with Monitor(folder, settings=DURABLE) as monitor:
        serve(monitor, pools[0])
        monitor.flush(PATIENCE)
        with service(folder, 2, 50) as killed:
            theirs = shown(killed)
            assert_counted(theirs, VideoCounts.joined(counts[:2]))
            assert value(theirs, "workers") == 2
            with service(folder, 3, 20) as ends:
                assert_counted(shown(ends), VideoCounts.joined(counts))
                own = samples(exposition(monitor.snapshot()))
                assert_counted(own, VideoCounts.joined(counts))
                assert value(own, "workers") == 3
                assert ends.stdin is not None
                ends.stdin.close()
                assert ends.wait(PATIENCE) == 0
            killed.kill()
            killed.wait(PATIENCE)
        after = samples(exposition(monitor.snapshot()))
    assert value(after, "workers") == 1 and value(after, "state_files_damaged") == 0
    assert_counted(after, VideoCounts.joined(counts))
    assert value(after, "log_durable_videos_total") == 30 + 50 + 20
