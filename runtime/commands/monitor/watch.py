"""``gatescope monitor watch``: the watcher beside the services that write a gate log."""

from __future__ import annotations

import json
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ...cli.command import Command
from .options import add_baseline, add_watching, seconds, watching

if TYPE_CHECKING:
    from types import FrameType

# How often the log is read, and a text file of metrics written, in seconds.
_EVERY, _TEXT_EVERY = 0.5, 10.0


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("log", type=Path, metavar="LOGDIR", help="the gate log of a MonitoredSession")
    add_baseline(parser)
    parser.add_argument(
        "--on-alarm",
        metavar="CMD",
        help="a command to run for each alarm, which gets it as JSON on its standard input",
    )
    parser.add_argument("--metrics-port", type=int, metavar="PORT", help="serve Prometheus metrics (0: any)")
    parser.add_argument(
        "--metrics-host",
        default="127.0.0.1",
        metavar="HOST",
        help="on this address (default: 127.0.0.1, this machine alone)",
    )
    parser.add_argument(
        "--metrics-file",
        type=Path,
        metavar="FILE",
        help="write them to a file now and then, for node_exporter's textfile collector",
    )
    parser.add_argument(
        "--from-beginning", action="store_true", help="watch what is in the log already as well"
    )
    add_watching(parser)
    parser.add_argument("--seconds", type=seconds, metavar="S", help="stop after S seconds (default: never)")
    parser.add_argument("--json", action="store_true", help="print alarms as JSON, one a line")


def _run(args: Namespace) -> int:
    from ...monitor.baseline.stored import load_baseline
    from ...monitor.describe import alarm_text
    from ...monitor.metrics.server import MetricsServer, write_textfile
    from ...monitor.sidecar import Sidecar

    with ExitStack() as stack:
        sidecar = stack.enter_context(
            Sidecar(
                args.log,
                load_baseline(args.baseline),
                settings=watching(args),
                on_alarm=args.on_alarm,
                start="beginning" if args.from_beginning else "end",
            )
        )
        if args.metrics_port is not None:
            server = MetricsServer(sidecar.snapshot, args.metrics_port, args.metrics_host)
            stack.enter_context(server)
            print(f"metrics at {server.url}", file=sys.stderr, flush=True)
        if args.metrics_file is not None:
            write_textfile(args.metrics_file, sidecar.snapshot())
        print(f"watching {args.log}", file=sys.stderr, flush=True)
        told: set[str] = set()
        written = began = time.monotonic()
        with _until_stopped() as stopped:
            while not stopped() and not (args.seconds and time.monotonic() - began >= args.seconds):
                for alarm in sidecar.step():
                    print(alarm.to_json() if args.json else alarm_text(alarm), flush=True)
                for name, why in sidecar.problems.items():
                    if name not in told:
                        told.add(name)
                        print(f"gatescope: {name} cannot be followed: {why}", file=sys.stderr, flush=True)
                if args.metrics_file is not None and time.monotonic() - written >= _TEXT_EVERY:
                    written = time.monotonic()
                    write_textfile(args.metrics_file, sidecar.snapshot())
                time.sleep(_EVERY)
        print(json.dumps({"videos": sidecar.videos}) if args.json else f"watched {sidecar.videos} videos")
    return 0


@contextmanager
def _until_stopped() -> Generator[_Stopped]:
    """Whether a signal asked to end; what was there for the signals is put back."""
    stopped = _Stopped()
    before = {number: signal.signal(number, stopped.stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Stopped:
    def __init__(self) -> None:
        self._now = False

    def __call__(self) -> bool:
        return self._now

    def stop(self, number: int, frame: FrameType | None) -> None:
        self._now = True


command = Command(
    summary="watch a gate log as it is written: alarms, and metrics for Prometheus",
    example="gatescope monitor watch gate-log/ --baseline baseline.json --metrics-port 9109",
    configure=_configure,
    run=_run,
)
