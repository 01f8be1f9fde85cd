"""``python -m gatescope.runtime.monitor.log.maintain LOGDIR``: seals and removes, at the lowest priority.

A service starts it when a segment ends, and does not wait for it. It can be run by hand or by a timer as
well.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ...errors import GatescopeError
from ..settings import LogSettings
from .folder import open_folder


def keep_log() -> int:
    """Exit 0 where all was done or another process is at it, 1 with a message where something failed."""
    from .sealing import maintain

    usual = LogSettings()
    parser = argparse.ArgumentParser(
        description="Seal finished segments of a gate log and remove the oldest."
    )
    parser.add_argument("folder", type=Path, metavar="LOGDIR")
    parser.add_argument("--keep-bytes", type=int, default=usual.keep_bytes)
    parser.add_argument("--keep-days", type=float, default=usual.keep_days)
    args = parser.parse_args()
    os.nice(19)
    try:
        keep = LogSettings(keep_bytes=args.keep_bytes, keep_days=args.keep_days)
        done = maintain(open_folder(args.folder), keep.keep_bytes, keep.keep_days)
    except (GatescopeError, OSError) as error:
        print(f"gatescope: error: {error}", file=sys.stderr)
        return 1
    for name, why in (done.left if done else {}).items():
        print(f"gatescope: {name}: {why}", file=sys.stderr)
    if done and done.doubt:
        print(f"gatescope: {done.doubt}", file=sys.stderr)
    return 1 if done and done.left else 0


if __name__ == "__main__":
    sys.exit(keep_log())
