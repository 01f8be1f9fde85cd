"""What an inspection found, as text for people and as a document for machines."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..gates.manifest import Fact

InspectedKind = Literal["checkpoint", "results", "model", "run"]

TITLES: dict[InspectedKind, str] = {
    "checkpoint": "checkpoint",
    "results": "results folder",
    "model": "exported model",
    "run": "run folder",
}

_WIDTH = 100


@dataclass(frozen=True)
class InspectedRow:
    """One line of a section: what, its value, and where that comes from."""

    name: str
    value: str
    source: str = ""


@dataclass(frozen=True)
class InspectedSection:
    """Lines that belong together."""

    title: str
    rows: tuple[InspectedRow, ...]


@dataclass(frozen=True)
class Inspection:
    """What is known of one file or folder.

    - ``summary``: one line that says what it is. ``sections``: the facts, for people.
    - ``problems``: why it cannot be used; empty where it can. ``warnings``: what to know before using it.
    - ``commands``: what to run next. ``details``: everything, for machines.
    """

    path: Path
    kind: InspectedKind
    summary: str
    sections: tuple[InspectedSection, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def usable(self) -> bool:
        """Whether it can be used as it is, or with the flags that ``commands`` show."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """One JSON document."""
        return {
            "path": str(self.path),
            "kind": self.kind,
            "summary": self.summary,
            "usable": self.usable,
            "problems": list(self.problems),
            "warnings": list(self.warnings),
            "commands": list(self.commands),
            **self.details,
        }

    def to_text(self) -> str:
        """The same, short and aligned."""
        blocks = [f"{self.path}\n{TITLES[self.kind]}: {self.summary}"]
        blocks += [_section(section) for section in self.sections if section.rows]
        for title, lines in (("Cannot be used", self.problems), ("Warnings", self.warnings)):
            if lines:
                blocks.append("\n".join([title, *(_item(line) for line in lines)]))
        if self.commands:
            blocks.append("\n".join(["Next", *(f"  {command}" for command in self.commands)]))
        return "\n\n".join(blocks)


def size_of(count: int) -> str:
    """Bytes in the unit that suits them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"


def _section(section: InspectedSection) -> str:
    names = max(len(row.name) for row in section.rows)
    values = max((len(row.value) for row in section.rows if row.source), default=0)
    lines = [
        f"  {row.name:<{names}}  {row.value:<{values if row.source else 0}}  {row.source}".rstrip()
        for row in section.rows
    ]
    return "\n".join([section.title, *lines])


def _item(text: str) -> str:
    lines: list[str] = []
    for number, line in enumerate(text.splitlines()):
        indent = "    " + " " * (len(line) - len(line.lstrip()))
        first = "  - " if number == 0 else indent
        # Paths and parameter names stay whole: they are copied.
        lines += textwrap.wrap(
            line.strip(),
            _WIDTH,
            initial_indent=first,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def fact_rows(facts: Mapping[str, Fact], names: Sequence[tuple[str, str]]) -> tuple[InspectedRow, ...]:
    """Facts under the names people use, in that order; those that are absent are left out."""
    return tuple(
        InspectedRow(
            title, "unknown" if facts[name].value is None else str(facts[name].value), facts[name].source
        )
        for name, title in names
        if name in facts
    )
