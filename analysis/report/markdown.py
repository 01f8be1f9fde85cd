"""Markdown that shows any text as text, whatever it contains."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

_SPECIAL = re.compile(r"([\\`*_\[\]#$|~])")
# They turn the direction of all text after them, up to the end of the line.
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def plain(value: object, longest: int = 120) -> str:
    """``value`` as text within a line or table cell of Markdown: on one line, at most ``longest`` characters.

    Not for the very beginning of a line, where more signs have a meaning.
    """
    text = " ".join(str(value).split())
    if len(text) > longest:
        text = f"{text[: longest - 1]}…"
    kept = "".join("�" if _is_control(letter) else letter for letter in text)
    safe = kept.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", safe)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int = 1) -> str:
    """A table whose first ``text_columns`` columns are flush left, the others (numbers) flush right.

    Cells are Markdown already; :func:`plain` makes it of foreign text.
    """
    rules = [":---" if index < text_columns else "---:" for index in range(len(heads))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, rules, *rows])


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs") or letter in _DIRECTIONS


def number(value: float | None, digits: int = 3) -> str:
    """A number with ``digits`` decimals, a minus sign that is one, and a dash where there is none."""
    if value is None or value != value:
        return "–"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def signed_number(value: float | None, digits: int = 3) -> str:
    """A difference, with a plus sign where it is above 0 as shown."""
    text = number(value, digits)
    return f"+{text}" if value and value > 0 and float(text) else text


def interval(low: float | None, high: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """``[0.150, 0.172]`` as plain text; empty where there is no interval."""
    if low is None or high is None or low != low:
        return ""
    shown = signed_number if sign else number
    return f"[{shown(low, digits)}, {shown(high, digits)}]"


def estimate(
    value: float | None,
    low: float | None,
    high: float | None,
    digits: int = 3,
    *,
    sign: bool = False,
    bold: bool = False,
) -> str:
    """``0.161 [0.150, 0.172]`` as Markdown, the one way in which a report gives a number with its interval.

    Where there is no interval, the number alone. ``sign``: a difference, with its sign. ``bold``: marks the
    number.
    """
    text = signed_number(value, digits) if sign else number(value, digits)
    if value is None or value != value:
        return text
    around = interval(low, high, digits, sign=sign).replace("[", "\\[").replace("]", "\\]")
    return f"{f'**{text}**' if bold else text} {around}".rstrip()


def estimate_of(row: Mapping[str, Any], name: str, digits: int = 3) -> str:
    """The same of a row with the columns ``name``, ``{name}_low`` and ``{name}_high``."""
    return estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], digits)


def percent(share: float | None) -> str:
    """A share of one in percent that tells "none" from "few" and "all" from "nearly all"."""
    if share is None or share != share:
        return "–"
    if share in (0, 1):
        return f"{share:.0%}"
    if share < 0.001:
        return "< 0.1%"
    return "> 99.9%" if share > 0.999 else f"{share:.1%}"


def shared_name(path: str | PurePath) -> str:
    """What a document that is passed on calls a file: an absolute path's last part, as folders name people.

    A run's folder that is called ``run`` says nothing, so the one it lies in is named too.
    """
    text = str(path)
    whole = PureWindowsPath(text) if _WINDOWS.match(text) else PurePosixPath(text)
    if not (whole.is_absolute() or text.startswith("~")):
        return text
    kept = whole.parts[-2:] if whole.name == "run" and len(whole.parts) > 2 else whole.parts[-1:]
    return "/".join(kept)


def without_folders(text: str) -> str:
    """A sentence with every absolute path in it cut to its last part."""
    return _PATH.sub(lambda found: shared_name(found[0]), text)


_WINDOWS = re.compile(r"[A-Za-z]:[\\/]")
# A path of two parts or more, at the beginning of a word; a sign at its end belongs to the sentence.
_PATH = re.compile(r"(?<![\w/.~])(?:~|[A-Za-z]:)?[\\/](?:[^\s\\/:;,()\"']+[\\/])+[^\s\\/:;,()\"']+(?<!\.)")
