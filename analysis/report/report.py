"""``ANALYSIS_REPORT.md``: the sections of an analysis, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from .markdown import plain
from .section import Section

TITLE = "Gate analysis"


def _caption(file_name: str) -> str:
    return PurePath(file_name).stem.replace("_", " ")


def report(warnings: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole report. ``warnings`` are plain text and come first, before any number."""
    blocks = [f"# {TITLE}"]
    if warnings:
        lines = ["> **Read this first**", ">", *(f"> - ⚠ {plain(warning, 600)}" for warning in warnings)]
        blocks.append("\n".join(lines))
    for section in sections:
        blocks.append(f"## {section.title}")
        if section.text:
            blocks.append(section.text)
        blocks += [f"![{plain(_caption(name))}]({name})" for name in section.figures]
    return "\n\n".join(blocks) + "\n"
