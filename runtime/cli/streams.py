"""Standard output and error, whatever their encoding: a sign it lacks is replaced, never an error.

A result that was computed for minutes must not be lost because a pipe or an old terminal is ASCII, cp949 or
cp1252.
"""

from __future__ import annotations

import codecs
import io
import sys

# How signs that the output uses are written where the encoding has none of them.
_PLAIN = {
    "…": "...",
    "−": "-",  # minus
    "–": "-",  # dash
    "‖": "||",
    "█": "#",
    "≥": ">=",
    "≤": "<=",
    "×": "x",
    "·": "*",
    "→": "->",
    "▶": ">",
    "±": "+-",
    "≈": "~",
    "°": " deg",
    "’": "'",
    "“": '"',
    "”": '"',
    "σ": "sigma",
}
_NAME = "gatescope.plain"


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """For each sign that cannot be encoded its plain form, else its code as ``\\uXXXX``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign) or ascii(sign)[1:-1] for sign in signs), error.end


def write_any_sign() -> None:
    """From now on standard output and error write a plain form of what their encoding does not have."""
    codecs.register_error(_NAME, _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not where a caller put something else in its place
            stream.reconfigure(errors=_NAME)
