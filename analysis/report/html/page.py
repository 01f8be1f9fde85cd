"""Puts ``report.html`` together: first screen, charts, table, and every chapter of the Markdown report."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import polars as pl

from ..markdown import estimate_of, plain, table
from ..section import Section
from .markup import to_html
from .payload import Payload, to_script
from .shell import chapters_html, contents, embedded, filled, own_text, policy, warning_box

_NAMED = 10


def page(
    first: Sequence[Section],
    chapters: Sequence[Section],
    payload: Payload,
    levels: pl.DataFrame,
    *,
    title: str,
    subtitle: str,
    warnings: Sequence[str],
) -> str:
    """The whole page: the text of ``first`` on the first screen, then ``chapters``.

    ``title``, ``subtitle`` and ``warnings`` are plain text; ``levels`` see ``payload``.

    Figures take what room the data leave below :data:`~gatescope.analysis.report.html.shell.LIMIT`; those
    that find none are named on the page.
    """
    style, script = own_text("report.css"), own_text("report.js")
    sections = [*first, *chapters]
    data = to_script(payload.data)
    pictures = embedded(sections, len(data.encode()) + len(style.encode()) + len(script.encode()))
    left_out = [*payload.left_out]
    if missing := [name for one in sections for name in one.figures if name not in pictures]:
        are = "1 figure is a file" if len(missing) == 1 else f"{len(missing):,} figures are files"
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        left_out.append(f"{are} next to this page: {', '.join(missing[:_NAMED])}{more}.")
    parts = {
        "POLICY": policy(style, script),
        "TITLE": escape(title),
        "SUBTITLE": escape(subtitle),
        "STYLE": style,
        "WARNINGS": warning_box(warnings),
        "NUMBERS": to_html(_numbers(levels)),
        "ANSWERS": "".join(to_html(one.text) for one in first),
        "CONTENTS": contents(chapters),
        "CHAPTERS": chapters_html(chapters, pictures),
        "LEFTOUT": "".join(f"<li>{escape(one)}</li>" for one in left_out) or "<li>Nothing.</li>",
        "DATA": data,
        "SCRIPT": script,
    }
    return filled("template.html", parts)


def _numbers(levels: pl.DataFrame) -> str:
    rows = [
        [
            plain(row["gate"]),
            "all" if row["layer"] is None else str(row["layer"]),
            estimate_of(row, "mean"),
            estimate_of(row, "mean_abs"),
        ]
        for row in levels.iter_rows(named=True)
    ]
    return table(["gate", "layer", "mean", "mean \\|g\\|"], rows)
