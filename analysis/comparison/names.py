"""Short names for runs that are set beside each other, fit to name a folder each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_LONGEST = 60
# What a folder's name may hold on any system; the rest becomes a dash.
_UNSAFE = re.compile(r"[^\w.+-]+")


def run_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of each path that differ, as many as it takes to tell all apart; numbered where none do.

    ``a/seed1/run`` and ``a/seed2/run`` are ``seed1`` and ``seed2``. Names differ in more than the case of
    their letters, begin with no dot, and are no longer than 60 characters.
    """
    tails = [path.resolve().parts[::-1] for path in paths]
    for depth in range(1, max(map(len, tails)) + 1):
        taken = [[tail[place] for tail in tails if place < len(tail)] for place in range(depth)]
        telling = [place for place, parts in enumerate(taken) if len({*parts}) > 1 or len(parts) < len(tails)]
        names = [
            _safe("-".join(tail[place] for place in telling[::-1] if place < len(tail))) for tail in tails
        ]
        if len({name.lower() for name in names}) == len(names):
            return names
    return [f"{number}-{_safe(path.resolve().name)}" for number, path in enumerate(paths, start=1)]


def _safe(text: str) -> str:
    return _UNSAFE.sub("-", text).strip(".-")[-_LONGEST:].lstrip(".-") or "run"
