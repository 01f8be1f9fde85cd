"""The chapter that shows single queries over time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ..figures.style import png, short
from ..figures.timeline import gate_limits, timeline_figure
from ..report.chapter import chapter
from ..report.context import Context
from ..report.markdown import plain, table
from ..report.section import Section
from .timeline import Timeline, timelines_of

# Half a second each: the rest is in report.html, which draws them itself.
_DRAWN = 6
#: Every name that a figure of this chapter can have.
FIGURES = tuple(f"timeline_{place}.png" for place in range(1, _DRAWN + 1))


@chapter("Samples over time", on_page="drawn by the page")
def timelines_chapter(context: Context) -> Section | None:
    """All exemplars in a table, and a figure of a few of them, one for every kind of reason first."""
    timelines, ranges = context.once(timelines_of), context.summary.ranges
    if not timelines:
        return None
    drawn = _most_different(timelines)
    limits = gate_limits([one.gates for one in drawn])
    figures = {
        name: png(
            timeline_figure(
                one.gates,
                ranges,
                f"Sample {short(one.exemplar.qid, 40)} over time",
                _below(one),
                truth=one.truth,
                predicted=one.predicted,
                saliency=one.saliency,
                rated=one.rated,
                limits=limits,
                unit=one.unit,
            )
        )
        for name, one in zip(FIGURES, drawn, strict=False)
    }
    number_of = {one.exemplar.qid: str(place) for place, one in enumerate(drawn, start=1)}
    rows = [
        [
            plain(one.exemplar.qid, 60),
            plain(one.vid, 60),
            plain(one.query, 100),
            plain("; ".join(one.exemplar.reasons), 300),
            number_of.get(one.exemplar.qid, "–"),
        ]
        for one in timelines
    ]
    text = (
        "Queries worth a look: those asked for, those with the largest and the smallest mean \\|g\\|, those "
        "whose gates are unusual, and those that fail where there is an evaluation. Of queries that share a "
        "video's gates, one is shown. All are drawn in `report.html`.\n\n"
        + table(["query", "video", "text", "why", "timeline"], rows, text_columns=4)
    )
    return Section(timelines_chapter.heading, text, figures)


def _below(one: Timeline) -> str:
    """What stands under a timeline: the query's words, why it is shown, and what shades mean."""
    words = f"“{short(one.query, 110)}”\n" if one.query else ""
    surer = "" if one.predicted.is_empty() else " Predicted windows: the darker, the surer."
    return f"{words}{short(one.exemplar.reasons[0], 110)}. Shaded: the true windows.{surer}"


def _most_different(timelines: Sequence[Timeline]) -> list[Timeline]:
    """As many as are drawn, taken in turn from every kind of reason; no video twice while others are left."""
    groups: dict[str, list[Timeline]] = {}
    for one in timelines:
        # "attention gate most open, mean |g| 0.408" → the words before the number
        kind = one.exemplar.reasons[0].split(",")[0].split(":")[0]
        groups.setdefault(kind, []).append(one)
    turns = [one for turn in itertools.zip_longest(*groups.values()) for one in turn if one is not None]
    seen: set[str] = set()
    first, again = [], []
    for one in turns:
        (again if one.vid in seen else first).append(one)
        seen.add(one.vid)
    return [*first, *again][:_DRAWN]
