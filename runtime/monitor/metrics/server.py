"""Serves the metrics over HTTP, or writes them to a file for another exporter to pick up."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from ...brief import one_line
from ...errors import MissingExtraError, MonitorError
from ...files import new_file
from .state import MetricsSnapshot


class MetricsServer:
    """Serves ``/metrics`` on ``host`` and ``port``; 0 takes a port that is free, ``port`` then says which.

    On this machine alone unless ``host`` says otherwise: metrics tell what traffic there is. A context
    manager; without ``with``, call :meth:`close`.

    Raises :class:`~gatescope.runtime.errors.MonitorError` where the port is taken or may not be used, and
    :class:`~gatescope.runtime.errors.MissingExtraError` without ``gatescope[monitor]``.
    """

    def __init__(self, snapshot: Callable[[], MetricsSnapshot], port: int, host: str = "127.0.0.1") -> None:
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ModuleNotFoundError as error:
            raise MissingExtraError("prometheus_client", "monitor") from error
        from .collector import GateCollector

        registry = CollectorRegistry(auto_describe=False)
        registry.register(GateCollector(snapshot))
        try:
            self._server, self._thread = start_http_server(port, addr=host, registry=registry)
        except (OSError, OverflowError) as error:
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            what = "is taken by another process" if taken else "cannot be used"
            raise MonitorError(
                f"port {port} on {host} {what}",
                received=(error.strerror if isinstance(error, OSError) else None) or str(error),
                fix="choose another port, or 0 for one that is free",
            ) from error
        self.host = host
        self.port = int(self._server.server_port)

    @property
    def url(self) -> str:
        """Where Prometheus finds it."""
        return f"http://{self.host}:{self.port}/metrics"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return one_line(self, self.url)


def exposition(snapshot: MetricsSnapshot) -> str:
    """The metrics as text, in Prometheus' format."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ModuleNotFoundError as error:
        raise MissingExtraError("prometheus_client", "monitor") from error
    from .collector import GateCollector

    registry = CollectorRegistry(auto_describe=False)
    registry.register(GateCollector(lambda: snapshot))
    return generate_latest(registry).decode()


def write_textfile(path: Path, snapshot: MetricsSnapshot) -> None:
    """Write the metrics to ``path``, at once and whole, for node_exporter's textfile collector.

    Raises :class:`~gatescope.runtime.errors.MonitorError` where it cannot be written.
    """
    try:
        with new_file(path) as partial:
            partial.write_text(exposition(snapshot), encoding="utf-8")
    except OSError as error:
        raise MonitorError(
            f"the metrics cannot be written to {path}", received=error.strerror or str(error)
        ) from error
