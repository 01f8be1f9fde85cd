"""Runs the long tests, prints what was promised and what was measured; exit 1 where a promise is not met."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..benchmarks.machine import Machine, this_machine
from .row import Row

# The soak first: what others leave of freed memory would hide its growth.
NAMES = ("soak", "overhead", "false_alarms", "faults", "log", "merge", "repeats")


def main() -> int:
    """``python -m tests.torture [NAME …] [--short] [--output FILE]``."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)} (default: all)")
    parser.add_argument("--short", action="store_true", help="as in CI: seconds instead of minutes")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write machine and rows as JSON")
    args = parser.parse_args()
    if unknown := set(args.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if args.output is not None and not args.output.absolute().parent.is_dir():
        parser.error(f"{args.output.absolute().parent} is not a folder")
    machine = this_machine()
    rows: list[Row] = []
    for name in args.names or NAMES:
        began = time.monotonic()
        print(f"── {name}", flush=True)
        rows += importlib.import_module(f".{name}", __package__).measure(args.short, _tell)
        _tell(f"{time.monotonic() - began:.0f} s")
    width = max(len(row.what) for row in rows)
    print()
    for row in rows:
        print(f"{'ok  ' if row.met else 'NOT '} {row.what:{width}}  {row.goal}: {row.measured}")
    if args.output is not None:
        write(args.output, machine, rows, short=args.short)
        _tell(f"wrote {args.output}")
    return 0 if all(row.met for row in rows) else 1


def write(path: Path, machine: Machine, rows: Sequence[Row], *, short: bool) -> None:
    """The JSON document; ``machine``: as it was before the first test."""
    document = {"machine": machine.plain(), "short": short, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _tell(text: str) -> None:
    print(f"   {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
