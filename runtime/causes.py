"""Groups what many things fail with by its cause, so that one cause is one line however many it befell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_NAMED = 3
_SHOWN = 10

# What of a reason belongs to one sample: the file's name, an id or another quoted text, a number.
_OWN = re.compile(
    r"(?:(?<=[/\\])|^(?!no file )|(?<=^no file ))[^/\\]+?(?=\.np[yz]\b)"
    r"|(?<=the qid )\S+|(?<=the query )\S+"
    r"|'[^']*'"
    r"|-?\d+(?:\.\d+)?"
)


@dataclass(frozen=True)
class Cause:
    """One cause: the ``names`` of everything it befell, in their order, and the ``reason`` they share.

    What differs from one to the next in the reason, such as the name of the file, is ``…``.
    """

    names: tuple[str, ...]
    reason: str

    def told(self, noun: str, total: int | None = None) -> str:
        """One line: ``line 3: …``, ``12 lines (3, 5, 8, …): …``; ``all 12 lines: …`` if ``total``."""
        count = len(self.names)
        if count == 1:
            return f"{noun} {self.names[0]}: {self.reason}"
        if count == total:
            return f"all {count:,} {noun}s: {self.reason}"
        return f"{count:,} {noun}s ({brief_names(self.names)}): {self.reason}"


def brief_names(names: Sequence[str]) -> str:
    """The first three of ``names``."""
    return ", ".join([*names[:_NAMED], *(["…"] if len(names) > _NAMED else [])])


def find_causes(failures: Iterable[tuple[str, str]]) -> list[Cause]:
    """The causes of ``failures``, pairs of a name and a reason, in the order in which they first occur."""
    groups: dict[tuple[str, ...], tuple[list[str], list[str | None]]] = {}
    for name, reason in failures:
        own: list[str | None] = list(_OWN.findall(reason))
        shared = tuple(_OWN.split(reason))
        names, parts = groups.setdefault(shared, ([], own))
        names.append(name)
        for place, part in enumerate(own):
            if parts[place] != part:
                parts[place] = None
    return [Cause(tuple(names), _joined(shared, parts)) for shared, (names, parts) in groups.items()]


def told_causes(failures: Sequence[tuple[str, str]], noun: str, total: int | None = None) -> list[str]:
    """One line per cause as :meth:`Cause.told` has it, for the first ten; what is left is counted."""
    causes = find_causes(failures)
    lines = [cause.told(noun, total) for cause in causes[:_SHOWN]]
    if rest := causes[_SHOWN:]:
        count = sum(len(cause.names) for cause in rest)
        of = f"1 {noun}" if count == 1 else f"{count:,} {noun}s"
        lines.append(f"… and {of} for {len(rest):,} more cause{'s' if len(rest) > 1 else ''}")
    return lines


def _joined(shared: tuple[str, ...], parts: list[str | None]) -> str:
    told = shared[0]
    for part, text in zip(parts, shared[1:], strict=True):
        told += ("…" if part is None else part) + text
    return told
