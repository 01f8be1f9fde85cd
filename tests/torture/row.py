"""One promise of the monitor and what was measured of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A line of the table that `make torture` prints."""

    what: str
    goal: str
    measured: str
    met: bool
