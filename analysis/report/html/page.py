"""Puts ``report.html`` together: first screen, charts, table, and every chapter of the Markdown report."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path, PurePath

import polars as pl

from ..markdown import estimate_of, plain, table
from ..section import Section
from .markup import inline_html, picture, to_html
from .payload import Payload, to_script
from .pictures import data_uris

#: What the whole file may take, in bytes.
LIMIT = 10_000_000
# Kept free for what stands around figures and data.
_MARGIN = 100_000
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

    Figures take what room the data leave below :data:`LIMIT`; those that find none are named on the page.
    """
    style, script = _own("report.css"), _own("report.js")
    sections = [*first, *chapters]
    figures = {name: png for section in sections for name, png in section.figures.items()}
    data = to_script(payload.data)
    texts = sum(len(section.text.encode()) for section in sections)
    taken = len(data.encode()) + len(style.encode()) + len(script.encode()) + 3 * texts
    pictures = data_uris(figures, max(0, LIMIT - _MARGIN - taken))
    left_out = [*payload.left_out]
    if missing := [name for name in figures if name not in pictures]:
        are = "1 figure is a file" if len(missing) == 1 else f"{len(missing):,} figures are files"
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        left_out.append(f"{are} next to this page: {', '.join(missing[:_NAMED])}{more}.")
    parts = {
        "POLICY": _policy(style, script),
        "TITLE": escape(title),
        "SUBTITLE": escape(subtitle),
        "STYLE": style,
        "WARNINGS": _warnings(warnings),
        "NUMBERS": to_html(_numbers(levels)),
        "ANSWERS": "".join(to_html(one.text) for one in first),
        "CONTENTS": "".join(
            f'<li><a href="#chapter-{place}">{inline_html(one.title)}</a></li>'
            for place, one in enumerate(chapters, start=1)
        ),
        "CHAPTERS": "".join(_chapter(place, one, pictures) for place, one in enumerate(chapters, start=1)),
        "LEFTOUT": "".join(f"<li>{escape(one)}</li>" for one in left_out) or "<li>Nothing.</li>",
        "DATA": data,
        "SCRIPT": script,
    }
    template = _own("template.html")
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda found: parts[found[1]], template)


def _own(name: str) -> str:
    """A file that lies next to this one; installed packages have it too."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """A policy under which nothing is loaded, and no script or style runs but the page's own."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    head = "<strong>Read this first</strong>"
    return f'<aside class="warnings" aria-label="warnings">{head}<ul>{items}</ul></aside>'


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


def _chapter(place: int, section: Section, pictures: Mapping[str, str]) -> str:
    figures = "".join(
        picture(pictures[name], PurePath(name).stem.replace("_", " "))
        if name in pictures
        else f"<p><em>{escape(name)} lies next to this page.</em></p>"
        for name in section.figures
    )
    title = f'<h2 id="chapter-{place}">{inline_html(section.title)}</h2>'
    return f'<section class="chapter">{title}{to_html(section.text, pictures)}{figures}</section>'
