"""Short names for runs that are set beside each other, fit to name a folder each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_LONGEST = 60
# What a folder's name may hold on any system; the rest becomes a dash.
_UNSAFE = re.compile(r"[^\w.+-]+")


def run_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of each path, as many as it takes to tell all apart, or numbered where none suffice.

    Names differ in more than the case of their letters, begin with no dot, and are no longer than 60
    characters.
    """
    resolved = [path.resolve() for path in paths]
    for depth in range(1, max(len(path.parts) for path in resolved) + 1):
        names = [_safe("-".join(path.parts[-depth:])) for path in resolved]
        if len({name.lower() for name in names}) == len(names):
            return names
    return [f"{number}-{_safe(path.name)}" for number, path in enumerate(resolved, start=1)]


def _safe(text: str) -> str:
    return _UNSAFE.sub("-", text).strip(".-")[-_LONGEST:].lstrip(".-") or "run"
