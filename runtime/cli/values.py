"""Values of command-line options, checked while they are parsed."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path

from ..files import local


def positive(text: str) -> int:
    """A whole number from 1; anything else is bad usage."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return value


def file_path(text: str) -> Path:
    """A file or folder; ``~`` is the user's home, also behind ``=``, where no shell expands it."""
    return local(text)


def expanded(text: str) -> str:
    """The same where the text itself counts, as training knew it: only ``~`` is replaced."""
    return str(local(text)) if text.startswith("~") else text
