"""What a benchmark leaves behind: tables for people on standard output, numbers for machines in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .goals import COLUMNS, Verdict
from .machine import Machine
from .markdown import table
from .spread import spread
from .timing import Kind, Series

NOT_JUDGED = "A smoke test at tiny sizes: the numbers mean nothing."


@dataclass
class Part:
    """One benchmark's tables, and ``data``, what goes to the JSON file.

    ``judged``: whether the sizes are those that limits are meant for.
    """

    title: str
    judged: bool = True
    tables: list[str] = field(default_factory=list[str])
    data: dict[str, Any] = field(default_factory=dict[str, Any])

    def add(
        self, heading: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = ""
    ) -> None:
        """A table under ``heading``, with a remark below it."""
        self.tables.append("\n\n".join(filter(None, [f"### {heading}", table(columns, rows), note])))

    def add_goals(self, verdicts: Sequence[Verdict]) -> None:
        """The table of goals; none is judged where sizes are tiny."""
        rows = [verdict.cells(judged=self.judged) for verdict in verdicts]
        self.add("Goals", COLUMNS, rows, "" if self.judged else NOT_JUDGED)
        self.data["goals"] = [
            asdict(verdict.goal)
            | {
                "measured": None if verdict.measured is None else asdict(verdict.measured),
                "met": verdict.met if self.judged else None,
                "note": verdict.note,
            }
            for verdict in verdicts
        ]

    def add_timings(self, kinds: Sequence[Kind], series: Series) -> None:
        """Milliseconds of a call and samples a second of each kind."""
        rows: list[list[str]] = []
        for kind in kinds:
            ms = spread(series[kind.name]).scaled(1e3)
            rows.append(
                [
                    kind.name,
                    f"{ms.median:.2f}",
                    f"{ms.lower:.2f} – {ms.upper:.2f} ({ms.smallest:.2f} – {ms.largest:.2f})",
                    f"{kind.samples / ms.median * 1e3:.1f}",
                ]
            )
        self.add("Timings", ["", "ms a call", "quartiles (smallest – largest)", "samples/s"], rows)
        self.data["seconds a call, by round"] = series


@dataclass
class Report:
    """The machine and what was measured on it."""

    machine: Machine
    parts: dict[str, Part] = field(default_factory=dict[str, Part])

    def markdown(self) -> str:
        """The whole report."""
        written = ["# Benchmarks of gatescope", self.machine.text()]
        for part in self.parts.values():
            written += [f"## {part.title}", *part.tables]
        return "\n\n".join(written) + "\n"

    def write(self, path: Path, settings: Mapping[str, Any]) -> None:
        """The JSON document."""
        document = {"machine": self.machine.plain(), "settings": dict(settings)}
        document |= {name: part.data for name, part in self.parts.items()}
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
