"""Runs the long tests and prints what was promised beside what was measured; exit 1 where one is not met."""

from __future__ import annotations

import argparse
import importlib
import sys
import time

from .row import Row

# The soak first: what others leave of freed memory would hide its growth.
NAMES = ("soak", "overhead", "false_alarms", "faults", "log", "merge")


def main() -> int:
    """``python -m tests.torture [NAME …] [--short]``."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)} (default: all)")
    parser.add_argument("--short", action="store_true", help="as in CI: seconds instead of minutes")
    args = parser.parse_args()
    if unknown := set(args.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
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
    return 0 if all(row.met for row in rows) else 1


def _tell(text: str) -> None:
    print(f"   {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
