"""The report's Markdown as HTML: HTML in it is shown as text, and nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, cast

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token


def to_html(markdown: str, pictures: Mapping[str, str] | None = None) -> str:
    """A section's text. ``pictures``: data URIs of images by file name; any other is its description."""
    return str(_parser().render(markdown, {"pictures": pictures or {}}))


def inline_html(markdown: str) -> str:
    """One line, such as a title, without a paragraph around it."""
    return str(_parser().renderInline(markdown, {"pictures": {}}))


def picture(uri: str, description: str) -> str:
    """A figure on its own."""
    alt = escape(description)
    return f'<figure><img src="{uri}" alt="{alt}"></figure>'


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("table_open", _open_table)
    parser.add_render_rule("table_close", _close_table)
    parser.add_render_rule("th_open", _cell)
    parser.add_render_rule("td_open", _cell)
    parser.add_render_rule("image", _image)
    parser.add_render_rule("link_open", _open_link)
    parser.add_render_rule("link_close", _close_link)
    return parser


def _open_table(*_: Any) -> str:
    # Wide tables scroll in their own frame, also by keyboard.
    return '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>\n'


def _close_table(*_: Any) -> str:
    return "</table></div>\n"


def _cell(self: RendererHTML, tokens: Sequence[Token], at: int, *_: Any) -> str:
    """A cell's alignment as a class: a style attribute would need a laxer security policy."""
    token = tokens[at]
    right = "right" in str(token.attrs.get("style", ""))
    return f'<{token.tag} class="number">' if right else f"<{token.tag}>"


def _open_link(self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    """A file next to the page is named, not linked: the page may travel without it."""
    target = str(tokens[at].attrs.get("href", ""))
    here = target.startswith(("#", "http:", "https:", "mailto:"))
    env.setdefault("links", []).append("a" if here else "span")
    return f'<a href="{escape(target)}">' if here else f'<span class="file" title="{escape(target)}">'


def _close_link(self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    return f"</{env['links'].pop()}>"


def _image(self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    token = tokens[at]
    described = self.renderInlineAsText(token.children or [], options, env)
    uri = cast(Mapping[str, str], env["pictures"]).get(str(token.attrs.get("src", "")))
    return picture(uri, described) if uri else f"<em>{escape(described)}</em>"
