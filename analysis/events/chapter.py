"""The chapter on planted events: only where the annotations name some."""

from __future__ import annotations

from ..context import Context
from ..figures.events import event_figure
from ..figures.style import png
from ..report.section import Section
from . import words as event_report
from .planted import planted_events
from .recovery import recover_events, why_no_recovery


def events_chapter(context: Context) -> Section | None:
    """How well the gates find the events; None where none are named: ordinary annotations name none."""
    annotations = context.options.annotations
    events = {} if annotations is None else planted_events(annotations)
    if not events:
        return None
    if reason := why_no_recovery(context.run, events):
        return Section(event_report.TITLE, f"Not computed. {reason}")
    recovery = recover_events(context.run, events)
    figure = event_figure(
        recovery.gates,
        recovery.curves,
        recovery.example,
        recovery.example_id,
        event_report.compared(recovery),
    )
    section = event_report.event_section(recovery, png(figure))
    found = {
        "videos": recovery.videos,
        "clips": recovery.clips,
        "event_clips": recovery.event_clips,
        "gates": recovery.gates.to_dicts(),
    }
    return section._replace(document={"event_recovery": found})
