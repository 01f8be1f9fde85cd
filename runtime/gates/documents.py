"""Reads versioned JSON documents: one from a newer gatescope is called newer, whatever else is in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec

from ..errors import GatescopeError


@dataclass(frozen=True)
class DocumentFormat:
    """One kind of versioned document.

    - ``name``: what its number counts, such as ``run format``. ``version``: the newest that can be read.
    - ``error``: what is raised. ``expected``, ``fix``: of a damaged one. ``fix_newer``: of a newer one.
    - ``mark``: what its entry ``format`` says; None for documents without such an entry.
    """

    name: str
    version: int
    error: type[GatescopeError]
    fix: str
    expected: str | None = None
    fix_newer: str = "update gatescope"
    mark: str | None = None

    def decode(self, content: str | bytes, origin: str | Path) -> dict[str, Any]:
        """The document ``content`` as plain Python objects; ``origin`` names it in errors.

        Raises ``error`` where it is damaged, another document, or newer than ``version``.
        """
        try:
            raw: Any = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self.damaged(origin, f"text that is not JSON: {error}") from error
        if not isinstance(raw, dict):
            raise self.damaged(origin, "a document that has no format_version")
        plain = cast(dict[str, Any], raw)
        if self.mark is not None and plain.get("format") != self.mark:
            what = self.mark.removeprefix("gatescope ")
            raise self.error(
                f"{origin} is not a {what}", received="another JSON document", expected=self.expected
            )
        found = plain.get("format_version")
        if not isinstance(found, int) or isinstance(found, bool):
            raise self.damaged(origin, "a document that has no format_version")
        self.refuse_newer(found, origin)
        return plain

    def refuse_newer(self, found: int, origin: str | Path) -> None:
        """Raises ``error`` where the version ``found`` is newer than what can be read."""
        if found > self.version:
            raise self.error(
                f"{origin} was written by a newer gatescope",
                received=f"{self.name} {found}",
                expected=f"format {self.version} or older",
                fix=self.fix_newer,
            )

    def damaged(self, origin: str | Path, why: str | Exception) -> GatescopeError:
        """The error for a document that cannot be what was written."""
        received = (str(why) or repr(why)) if isinstance(why, Exception) else why
        return self.error(f"{origin} is damaged", received=received, expected=self.expected, fix=self.fix)
