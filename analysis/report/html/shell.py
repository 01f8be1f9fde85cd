"""What every page of ours has: its own style, a policy under which nothing is loaded, warnings, chapters."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path, PurePath

from ..section import Section
from .markup import inline_html, picture, to_html
from .pictures import data_uris

#: What a whole page may take, in bytes.
LIMIT = 10_000_000
# Kept free for what stands around figures and data.
_MARGIN = 100_000


def own_text(name: str) -> str:
    """A file that lies next to this one; installed packages have it too."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def filled(template: str, parts: Mapping[str, str]) -> str:
    """The own file ``template`` with its ``{{NAME}}`` replaced."""
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda found: parts[found[1]], own_text(template))


def policy(style: str, script: str | None = None) -> str:
    """A policy under which nothing is loaded, and no script or style runs but the page's own."""
    scripts = "" if script is None else f"script-src '{_digest(script)}'; "
    return (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; {scripts}"
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def warning_box(warnings: Sequence[str]) -> str:
    """What to know before believing the page; ``warnings`` are plain text."""
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    head = "<strong>Read this first</strong>"
    return f'<aside class="warnings" aria-label="warnings">{head}<ul>{items}</ul></aside>'


def contents(chapters: Sequence[Section]) -> str:
    """Links to the chapters, list items."""
    return "".join(
        f'<li><a href="#chapter-{place}">{inline_html(one.title)}</a></li>'
        for place, one in enumerate(chapters, start=1)
    )


def chapters_html(chapters: Sequence[Section], pictures: Mapping[str, str]) -> str:
    """The chapters; ``pictures``: data URIs of their figures by file name, as far as there was room."""
    return "".join(_chapter(place, one, pictures) for place, one in enumerate(chapters, start=1))


def _chapter(place: int, section: Section, pictures: Mapping[str, str]) -> str:
    figures = "".join(
        picture(pictures[name], PurePath(name).stem.replace("_", " "))
        if name in pictures
        else f"<p><em>{escape(name)} lies next to this page.</em></p>"
        for name in section.figures
    )
    title = f'<h2 id="chapter-{place}">{inline_html(section.title)}</h2>'
    return f'<section class="chapter">{title}{to_html(section.text, pictures)}{figures}</section>'


def embedded(sections: Sequence[Section], taken: int) -> dict[str, str]:
    """Figures of ``sections`` as data URIs, in the room that ``taken`` bytes and the texts leave."""
    figures = {name: png for section in sections for name, png in section.figures.items()}
    texts = sum(len(section.text.encode()) for section in sections)
    return data_uris(figures, max(0, LIMIT - _MARGIN - taken - 3 * texts))


def plain_page(
    title: str, subtitle: str, first: str, chapters: Sequence[Section], warnings: Sequence[str]
) -> str:
    """A page of text, tables and figures without scripts: ``first`` (Markdown) at the top, then the chapters.

    ``title``, ``subtitle`` and ``warnings`` are plain text. Nothing is loaded from elsewhere.
    """
    style = own_text("report.css")
    parts = {
        "POLICY": policy(style),
        "TITLE": escape(title),
        "SUBTITLE": escape(subtitle),
        "STYLE": style,
        "WARNINGS": warning_box(warnings),
        "FIRST": to_html(first),
        "CONTENTS": contents(chapters),
        "CHAPTERS": chapters_html(chapters, embedded(chapters, len(style) + len(first.encode()))),
    }
    return filled("plain.html", parts)
