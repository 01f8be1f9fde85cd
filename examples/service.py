"""A small HTTP service around an exported model whose gates are watched.

    python examples/service.py m.onnx --log gate-log --baseline baseline.json

POST /run takes one sample as an .npz archive of the model's inputs (``prepare(…).as_batch()`` gives them) and
answers with the predictions as JSON:

    curl --data-binary @sample.npz -H 'X-Video: video-1' http://127.0.0.1:8000/run

Every request's gates go to the gate log, for ``gatescope monitor``. Metrics for Prometheus are at
http://127.0.0.1:9109/metrics.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import signal
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np

from gatescope.runtime import GateSession
from gatescope.runtime.errors import GatescopeError
from gatescope.runtime.monitor import MetricsServer, Monitor, MonitoredSession

# Bytes of one request: a sample of the published models takes less than 2 MB.
LARGEST = 16 * 2**20


def handler(session: MonitoredSession) -> type[BaseHTTPRequestHandler]:
    """What answers the requests with ``session``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if self.path != "/run":
                return self._answer(404, {"error": "there is POST /run alone"})
            length = int(self.headers.get("Content-Length") or 0)
            if not 0 < length <= LARGEST:
                return self._answer(413, {"error": f"expected 1 to {LARGEST} bytes, received {length}"})
            try:
                with np.load(io.BytesIO(self.rfile.read(length)), allow_pickle=False) as archive:
                    batch = {name: archive[name] for name in archive.files}
                video = self.headers.get("X-Video")  # without it, the request counts as a video of its own
                outputs = session.run(
                    batch, ids=[video] if video else None, slice=self.headers.get("X-Slice", "")
                )
            except (GatescopeError, ValueError, OSError, zipfile.BadZipFile) as error:
                return self._answer(400, {"error": str(error)})
            return self._answer(200, {name: array.tolist() for name, array in outputs.predictions.items()})

        def _answer(self, code: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def main() -> None:
    """Serve until SIGTERM or Ctrl-C; prints where."""
    parser = argparse.ArgumentParser(description="serve an exported model with its gates watched")
    parser.add_argument("model", type=Path)
    parser.add_argument("--log", type=Path, default=Path("gate-log"), help="the gate log to write")
    parser.add_argument("--baseline", type=Path, help="what 'gatescope monitor baseline' wrote")
    parser.add_argument("--port", type=int, default=8000, help="0: any")
    parser.add_argument("--metrics-port", type=int, default=9109, help="0: any")
    args = parser.parse_args()
    monitor = Monitor(args.log, baseline=args.baseline)
    session = MonitoredSession(GateSession(args.model), monitor)
    server = ThreadingHTTPServer(("127.0.0.1", args.port), handler(session))
    signal.signal(signal.SIGTERM, lambda *_: Thread(target=server.shutdown).start())
    with monitor, MetricsServer(monitor.snapshot, args.metrics_port) as metrics:
        print(f"http://127.0.0.1:{server.server_port}/run {metrics.url}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()
