"""One chapter of a report as one object: its heading, what it computes and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .context import Context
from .section import Section

#: Where a chapter stands in ``report.html``: among the chapters, on the first screen, or among the chapters
#: with its figures left out, because the page draws them itself.
Place = Literal["chapter", "first screen", "drawn by the page"]
Write = Callable[[Context], Section | None]


def _nothing(_: Context) -> None:
    """A chapter that can always be written."""


@dataclass(frozen=True)
class Chapter:
    """A chapter. Calling it gives its section, or None where the run has nothing for it.

    - ``heading``: Markdown. ``write``: computes and words it.
    - ``check``: called before anything is computed; raises for options that this chapter cannot use.
    - ``on_page``: where it stands in ``report.html``.
    """

    heading: str
    write: Write
    check: Callable[[Context], object] = _nothing
    on_page: Place = "chapter"

    def __call__(self, context: Context) -> Section | None:
        """The chapter on this run."""
        return self.write(context)


def chapter(
    heading: str, *, check: Callable[[Context], object] = _nothing, on_page: Place = "chapter"
) -> Callable[[Write], Chapter]:
    """Makes a function that writes a section into the chapter of this heading."""
    return lambda write: Chapter(heading, write, check, on_page)
