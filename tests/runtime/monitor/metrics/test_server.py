"""Serving metrics: to this machine alone, at a port that is told, while inference goes on; and as a file."""

from __future__ import annotations

import socket
import stat
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gatescope.runtime.errors import MissingExtraError, MonitorError
from gatescope.runtime.monitor.metrics.server import MetricsServer, exposition, write_textfile
from gatescope.runtime.monitor.metrics.state import MetricsSnapshot
from gatescope.runtime.monitor.serving.monitor import Monitor

from ....waiting import PATIENCE, until
from .service import SETTINGS, answers, serve
from .snapshots import Samples, gates, samples, series, snapshot_of, state_of, value

SNAPSHOT = snapshot_of(state_of(gates(10)))


def scrape(url: str) -> Samples:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        assert answer.status == 200
        return samples(answer.read().decode())


def connects(host: str, port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(PATIENCE)
        return client.connect_ex((host, port)) == 0


def test_serves_what_the_snapshot_says_at_each_scrape() -> None:
    states = iter([SNAPSHOT, snapshot_of(state_of(gates(30)))])
    with MetricsServer(lambda: next(states), 0) as server:
        assert server.url == f"http://127.0.0.1:{server.port}/metrics"
        assert value(scrape(server.url), "videos_total", slice="") == 10
        assert value(scrape(server.url), "videos_total", slice="") == 30


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")
def test_only_this_machine_is_served_unless_told_otherwise() -> None:
    # A server on every address answers on 127.0.0.2 too, one on 127.0.0.1 does not.
    with MetricsServer(lambda: SNAPSHOT, 0) as server:
        assert connects("127.0.0.1", server.port) and not connects("127.0.0.2", server.port)
    with MetricsServer(lambda: SNAPSHOT, 0, host="0.0.0.0") as server:
        assert connects("127.0.0.2", server.port)


def test_port_0_is_a_free_one_each_time() -> None:
    with MetricsServer(lambda: SNAPSHOT, 0) as one, MetricsServer(lambda: SNAPSHOT, 0) as other:
        assert one.port != other.port and min(one.port, other.port) > 0
        assert scrape(one.url) == scrape(other.url)


def test_a_closed_server_leaves_nothing_behind() -> None:
    before = set(threading.enumerate())
    with MetricsServer(lambda: SNAPSHOT, 0) as server:
        scrape(server.url)
    assert not connects("127.0.0.1", server.port)
    until(lambda: set(threading.enumerate()) <= before)
    with MetricsServer(lambda: SNAPSHOT, server.port) as again:
        assert value(scrape(again.url), "workers") == 1


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    with (
        MetricsServer(lambda: SNAPSHOT, 0) as server,
        pytest.raises(MonitorError, match=f"port {server.port} on 127.0.0.1 is taken") as raised,
    ):
        MetricsServer(lambda: SNAPSHOT, server.port)
    assert "Address already in use" in str(raised.value)
    assert "choose another port, or 0 for one that is free" in str(raised.value)


@pytest.mark.parametrize(("port", "host"), [(-1, "127.0.0.1"), (70_000, "127.0.0.1"), (0, "203.0.113.1")])
def test_a_port_or_host_that_cannot_be_used_is_named(port: int, host: str) -> None:
    with pytest.raises(MonitorError, match=f"port {port} on {host} cannot be used"):
        MetricsServer(lambda: SNAPSHOT, port, host)


def test_a_snapshot_that_fails_once_fails_one_scrape(capsys: pytest.CaptureFixture[str]) -> None:
    broken = [True]

    def snapshot() -> MetricsSnapshot:
        if broken.pop():
            broken.append(False)
            raise MonitorError("not now")
        broken.append(False)
        return SNAPSHOT

    with MetricsServer(snapshot, 0) as server:
        with pytest.raises(urllib.error.HTTPError) as raised:
            scrape(server.url)
        assert raised.value.code == 500
        raised.value.close()
        assert value(scrape(server.url), "workers") == 1
    assert "not now" in capsys.readouterr().err


def test_without_the_extra_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    tries: list[Callable[[], object]] = [
        lambda: MetricsServer(lambda: SNAPSHOT, 0),
        lambda: exposition(SNAPSHOT),
        lambda: write_textfile(tmp_path / "metrics.prom", SNAPSHOT),
    ]
    for attempt in tries:
        with pytest.raises(MissingExtraError, match=r"gatescope\[monitor\]"):
            attempt()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("usual_umask")
def test_a_text_file_is_whole_readable_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "textfile" / "gatescope.prom"
    for videos in (10, 20):
        write_textfile(path, snapshot_of(state_of(gates(videos))))
        assert value(samples(path.read_text(encoding="utf-8")), "videos_total", slice="") == videos
    # The exporter that picks it up is another user's process.
    assert path.stat().st_mode & stat.S_IRGRP and list(path.parent.iterdir()) == [path]


def test_a_text_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(MonitorError, match=r"cannot be written to .*gatescope\.prom"):
        write_textfile(tmp_path / "file" / "gatescope.prom", SNAPSHOT)


def test_scraping_goes_on_beside_inference(tmp_path: Path) -> None:
    pool = answers(4, 20)
    seen: list[Samples] = []
    served: list[int] = []
    enough = threading.Event()

    def requests() -> None:
        while not enough.is_set():
            serve(monitor, pool)
            served.append(len(pool))
            monitor.flush(PATIENCE)  # whatever the machine's speed, no more waits than may wait

    with (
        Monitor(tmp_path / "log", settings=SETTINGS) as monitor,
        MetricsServer(lambda: monitor.snapshot(), 0) as server,
    ):
        serve(monitor, pool[:0])
        service = threading.Thread(target=requests)
        service.start()
        try:
            for _ in range(10):
                seen.append(scrape(server.url))
        finally:
            enough.set()
            service.join()
        monitor.flush()
        seen.append(scrape(server.url))
        assert monitor.faults == 0 and monitor.dropped == 0
    for before, after in pairwise(seen):
        falls = [key for key, one in before.items() if key[0].endswith("_total") and after[key] < one]
        assert falls == []
    for one in seen:
        values = series(one, "gate_values_total")
        assert set(values.values()) == {20 * sum(series(one, "videos_total").values())}
        assert set(series(one, "gate_value_bucket", le="+Inf").values()) == set(values.values())
    assert sum(series(seen[-1], "videos_total").values()) == sum(served)
    assert np.isfinite(list(seen[-1].values())).all()
