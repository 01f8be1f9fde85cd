"""One section of a report: what every part of it is made of, whoever writes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ...runtime.brief import brief


class Section(NamedTuple):
    """A heading and what stands under it. A plain tuple of the first three does as well.

    - ``title``, ``text``: Markdown. Foreign text in it must have gone through
      :func:`~gatescope.analysis.report.markdown.plain`.
    - ``figures``: PNG files by file name; each is written beside the report and shown after the text.
    - ``document``: entries of ``overall_statistics.json``.
    - ``files``: other files by path below the report's folder, such as ``sample_rankings.csv``.
    - ``stream``: more of them, (path, content), made one by one when the report is written, for what does not
      fit in memory together.
    """

    title: str
    text: str
    figures: Mapping[str, bytes] = {}
    document: Mapping[str, Any] = {}
    files: Mapping[str, bytes] = {}
    stream: Iterable[tuple[str, bytes]] = ()

    def __repr__(self) -> str:
        return brief(self)
