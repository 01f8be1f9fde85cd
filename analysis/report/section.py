"""One section of a report: what every part of it is made of, whoever writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Section(NamedTuple):
    """A heading and what stands under it. A plain tuple of the same three does as well.

    - ``title``, ``text``: Markdown. Foreign text in it must have gone through
      :func:`~gatescope.analysis.report.markdown.plain`.
    - ``figures``: PNG files by file name; each is written beside the report and shown after the text.
    """

    title: str
    text: str
    figures: Mapping[str, bytes] = {}
