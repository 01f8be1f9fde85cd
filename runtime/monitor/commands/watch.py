"""``gatescope monitor watch``: the watcher beside the services that write a gate log."""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ...cli.command import Command
from ...cli.options import file_path
from ...errors import MonitorError
from .options import add_baseline, add_watching, seconds, watching

if TYPE_CHECKING:
    from types import FrameType

    from ..serving.sidecar import Sidecar

# How often the log is read, and a text file of metrics written, in seconds.
READ_EVERY_SECONDS, METRICS_FILE_EVERY_SECONDS = 0.5, 10.0


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("log", type=file_path, metavar="LOGDIR", help="the gate log of a MonitoredSession")
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
        type=file_path,
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
    from ..baseline.stored import load_baseline
    from ..describe import alarm_text
    from ..metrics.server import MetricsServer, write_textfile
    from ..serving.sidecar import Sidecar

    with ExitStack() as stack:
        # Alarms are printed: a logger without a handler would say each a second time.
        quiet = logging.NullHandler()
        logging.getLogger("gatescope").addHandler(quiet)
        stack.callback(logging.getLogger("gatescope").removeHandler, quiet)
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
        complaints = _Complaints(sidecar)
        written = began = time.monotonic()
        with _until_stopped() as stopped:
            while not stopped() and not (args.seconds and time.monotonic() - began >= args.seconds):
                for alarm in sidecar.step():
                    print(alarm.to_json() if args.json else alarm_text(alarm), flush=True)
                complaints.tell()
                if args.metrics_file is not None and time.monotonic() - written >= METRICS_FILE_EVERY_SECONDS:
                    written = time.monotonic()
                    try:
                        write_textfile(args.metrics_file, sidecar.snapshot())
                    except MonitorError as error:  # a full disk, say: watching goes on
                        _complain(str(error))
                time.sleep(READ_EVERY_SECONDS)
        sidecar.close()  # which waits for the last alarm to be delivered
        complaints.tell()
        print(json.dumps({"videos": sidecar.videos}) if args.json else f"watched {sidecar.videos} videos")
    return 0


class _Complaints:
    """What the sidecar cannot do, each said once on standard error."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar
        self._segments: set[str] = set()
        self._undelivered = 0

    def tell(self) -> None:
        """Say what is new."""
        for name, why in self._sidecar.problems.items():
            if name not in self._segments:
                self._segments.add(name)
                _complain(f"{name} cannot be followed: {why}")
        delivery = self._sidecar.delivery
        if delivery.failures > self._undelivered:
            self._undelivered = delivery.failures
            _complain(f"an alarm could not be delivered: {delivery.last_failure}")


def _complain(text: str) -> None:
    print(f"gatescope: {text}", file=sys.stderr, flush=True)


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
