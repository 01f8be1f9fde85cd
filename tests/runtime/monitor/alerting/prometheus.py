"""A real Prometheus that scrapes one target of this machine, for as long as a test wants it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from ....waiting import PATIENCE

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
needs_prometheus = pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")

#: Between scrapes and between evaluations of rules.
INTERVAL = "500ms"


class Prometheus:
    """Scrapes the port ``target`` twice a second, on a free port of its own; everything is in ``folder``.

    ``rules``: the text of a rule file. A context manager: it is ready when entered, killed when left.
    """

    def __init__(self, folder: Path, target: int, rules: str = "") -> None:
        self._log = folder / "prometheus.log"
        (folder / "rules.yml").write_text(rules or json.dumps({"groups": []}), encoding="utf-8")
        config = {
            "global": {
                "scrape_interval": INTERVAL,
                "scrape_timeout": INTERVAL,
                "evaluation_interval": INTERVAL,
            },
            "rule_files": [str(folder / "rules.yml")],
            "scrape_configs": [
                {"job_name": "gatescope", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
            ],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
        self._port = free_port()
        self._command = [
            str(PROMETHEUS),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]

    def __enter__(self) -> Prometheus:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        try:
            self.until(self._ready, "Prometheus is ready")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def ask(self, what: str, **parameters: str) -> Any:
        """The data of one call of its API; a query that fails is an error with what it says."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self._port}/api/v1/{what}?{query}", timeout=PATIENCE
            ) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expression: str) -> list[Mapping[str, Any]]:
        """What an instant query gives now: labels (``metric``) and ``value`` of each series."""
        return self.ask("query", query=expression)["result"]

    def firing(self) -> list[Mapping[str, Any]]:
        """Alerts that fire now, with their labels and annotations."""
        return [one for one in self.ask("alerts")["alerts"] if one["state"] == "firing"]

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for ``condition``; fails with the end of its log where it does not come."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end or self._process.poll() is not None:
                raise AssertionError(
                    f"not so: {what}; its log ends:\n{self._log.read_text(encoding='utf-8')[-2000:]}"
                )
            time.sleep(0.1)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=PATIENCE):
                return True
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            return False

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()


def free_port() -> int:
    """One that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
