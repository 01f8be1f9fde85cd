"""Options that several subcommands of ``gatescope monitor`` share."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from ...cli.options import file_path

if TYPE_CHECKING:
    from ..settings import WatchSettings


def share(text: str) -> float:
    """A number above 0 and below 1; anything else is bad usage."""
    value = _number(text)
    if not 0 < value < 1:
        raise ArgumentTypeError(f"'{text}' is not a share above 0 and below 1")
    return value


def seconds(text: str) -> float:
    """A number above 0; anything else is bad usage."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"'{text}' is not a number above 0")
    return value


def window(text: str) -> int:
    """A window's size: from 10 to 100,000 videos."""
    value = _number(text)
    if not 10 <= value <= 100_000 or value != int(value):
        raise ArgumentTypeError(f"'{text}' is not a whole number from 10 to 100000")
    return int(value)


def add_baseline(parser: ArgumentParser) -> None:
    """``--baseline``."""
    parser.add_argument(
        "--baseline",
        type=file_path,
        required=True,
        metavar="FILE",
        help="what 'gatescope monitor baseline' wrote",
    )


def add_thresholds(parser: ArgumentParser, windows: str, false_alarms: str) -> None:
    """``--window`` and ``--false-alarms``, each with the words on its default."""
    parser.add_argument(
        "--window",
        type=window,
        action="append",
        metavar="VIDEOS",
        help=f"size of a sliding window; may be repeated ({windows})",
    )
    parser.add_argument(
        "--false-alarms",
        type=share,
        metavar="SHARE",
        help="in how many windows without drift anything may be beyond its threshold, as a share"
        f" ({false_alarms})",
    )


def add_watching(parser: ArgumentParser) -> None:
    """When a reading beyond its threshold is an alarm."""
    parser.add_argument(
        "--at-once",
        type=seconds,
        default=2.0,
        metavar="X",
        help="from X times its threshold on one window is enough (default: 2)",
    )
    parser.add_argument(
        "--confirm",
        type=int,
        default=1,
        choices=range(10),
        metavar="N",
        help="below that it must stay beyond its threshold for N windows more (default: 1)",
    )
    parser.add_argument(
        "--stale-seconds",
        type=seconds,
        default=300.0,
        metavar="S",
        help="after how long without a video traffic is stale (default: 300)",
    )


def watching(args: Namespace) -> WatchSettings:
    """What :func:`add_watching` was told."""
    from ..settings import WatchSettings

    return WatchSettings(at_once=args.at_once, confirm=args.confirm, stale_seconds=args.stale_seconds)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
