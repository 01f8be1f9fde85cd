"""The chapter on planted events: only where the annotations name some."""

from __future__ import annotations

import math

import polars as pl

from ...runtime.brief import counted
from ..figures.events import event_figure
from ..figures.style import png
from ..report.chapter import chapter
from ..report.context import Context
from ..report.markdown import number, plain, table
from ..report.section import Section
from .planted import planted_events
from .recovery import EventRecovery, recover_events, why_no_recovery

EVENTS_FIGURE = "event_recovery.png"


@chapter("Do the gates find the event?")
def events_chapter(context: Context) -> Section | None:
    """How well the gates find the events; None where none are named: ordinary annotations name none."""
    annotations = context.options.annotations
    events = {} if annotations is None else planted_events(annotations)
    if not events:
        return None
    if reason := why_no_recovery(context.run, events):
        return Section(events_chapter.heading, f"Not computed. {reason}")
    recovery = recover_events(context.run, events)
    figure = event_figure(
        recovery.gates,
        recovery.curves,
        recovery.example,
        recovery.example_id,
        _compared(recovery),
    )
    found = {
        "videos": recovery.videos,
        "clips": recovery.clips,
        "event_clips": recovery.event_clips,
        "gates": recovery.gates.to_dicts(),
    }
    document = {"event_recovery": found}
    return Section(events_chapter.heading, _text(recovery), {EVENTS_FIGURE: png(figure)}, document)


def _compared(recovery: EventRecovery) -> str:
    """How many clips of how many videos were compared, in a sentence."""
    clips, videos = counted(recovery.clips, "clip"), counted(recovery.videos, "video")
    return f"{recovery.event_clips:,} of {clips} of {videos} have the event."


def _text(recovery: EventRecovery) -> str:
    """The area under the ROC curve of every gate, in a table and in words."""
    best = recovery.gates.filter(pl.col("auc").is_not_nan()).sort("auc", descending=True, maintain_order=True)
    meaning = (
        f"{_compared(recovery)} The area under the ROC curve is the chance that a clip with the event has a "
        "larger gate than a clip without it: 0.5 is chance, 1 is perfect, below 0.5 the gate closes on the "
        "event. A video whose queries share its gates counts once."
    )
    if best.is_empty():
        found = "All clips, or none, have the event: there is nothing to tell apart."
    else:
        top, last = best.row(0, named=True), best.row(-1, named=True)
        found = (
            f"Best: the {plain(top['gate'])} gate of layer {top['layer']}, {number(top['auc'])}; "
            f"lowest: the {plain(last['gate'])} gate of layer {last['layer']}, {number(last['auc'])}."
        )
    rows = [
        [plain(row["gate"]), str(row["layer"]), _area(row["auc"]), _area(row["auc_abs"])]
        for row in recovery.gates.iter_rows(named=True)
    ]
    areas = table(["gate", "layer", "AUC of g", "AUC of \\|g\\|"], rows)
    return f"{meaning}\n\n{found}\n\n{areas}"


def _area(value: float) -> str:
    return number(None if math.isnan(value) else value)
