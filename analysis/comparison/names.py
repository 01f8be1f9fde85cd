"""Short names for runs that are set side by side, fit to name a folder each."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ...runtime.errors import UsageError
from ...runtime.files import local

_LONGEST = 60
# What a folder's name may hold on any system; the rest becomes a dash.
_UNSAFE = re.compile(r"[^\w.+-]+")
# What `gatescope report` and the README call every run: it says nothing.
_USUAL = "run"


def run_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of each path that differ, as many as it takes to tell all apart; numbered where none do.

    ``a/seed1/run`` and ``a/seed2/run`` are ``seed1`` and ``seed2``; ``report/run`` next to ``old`` is
    ``report``. The working folder's own name says nothing of a run in it and is never used. Names differ in
    more than the case of their letters, begin with no dot, and are no longer than 60 characters.
    """
    tails = _tails([path.resolve() for path in paths])
    for depth in range(1, max(map(len, tails)) + 1):
        taken = [[tail[place] for tail in tails if place < len(tail)] for place in range(depth)]
        telling = [place for place, parts in enumerate(taken) if len({*parts}) > 1 or len(parts) < len(tails)]
        names = [
            _safe("-".join(tail[place] for place in telling[::-1] if place < len(tail))) for tail in tails
        ]
        if len({name.lower() for name in names}) == len(names):
            return names
    return [f"{number}-{_safe(path.resolve().name)}" for number, path in enumerate(paths, start=1)]


def chosen_names(paths: Sequence[Path], given: Sequence[str | None]) -> list[str]:
    """The names ``given``, and for None that of :func:`run_names`.

    Raises :class:`~gatescope.runtime.errors.UsageError` for one that cannot name a folder, or two that are
    alike.
    """
    names = [found if own is None else own for own, found in zip(given, run_names(paths), strict=True)]
    for name in given:
        if name is not None and _safe(name) != name:
            raise UsageError(
                "this cannot be the name of a run: a folder is called by it",
                received=name,
                expected=f"at most {_LONGEST} letters, digits and . _ + -, the first no dot",
            )
    lowered = [name.lower() for name in names]
    if alike := [name for name in names if lowered.count(name.lower()) > 1]:
        raise UsageError("runs have the same name", received=", ".join(alike), expected="different names")
    return names


def named_run(text: str) -> tuple[str | None, Path]:
    """``NAME=RUN`` as the name and the folder; without a name where a folder is called like the whole."""
    name, sign, path = text.partition("=")
    if not sign or local(text).exists():
        return None, local(text)
    return name, local(path)


def _tails(paths: Sequence[Path]) -> list[tuple[str, ...]]:
    """The parts of each path that may tell it from others, the last one first."""
    roots = Path.cwd().resolve(), Path(os.path.commonpath(paths))
    parts = [
        next((path.relative_to(root).parts for root in roots if path.is_relative_to(root)), path.parts)
        or (path.name,)
        for path in paths
    ]
    usual = [path.name == _USUAL and len(own) > 1 for path, own in zip(paths, parts, strict=True)]
    # The folder around a run stands for it only where no other run is in there.
    alone = not any(
        path.name == _USUAL and other != path and other.is_relative_to(path.parent)
        for path in paths
        for other in paths
    )
    return [(own[:-1] if drop and alone else own)[::-1] for own, drop in zip(parts, usual, strict=True)]


def _safe(text: str) -> str:
    return _UNSAFE.sub("-", text).strip(".-")[-_LONGEST:].lstrip(".-") or _USUAL
