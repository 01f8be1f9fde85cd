"""The section on planted events: whether the gates find the clips an event is in."""

from __future__ import annotations

import math

import polars as pl

from ..report.markdown import counted, number, plain, table
from ..report.section import Section
from .recovery import EventRecovery

TITLE = "Do the gates find the event?"
EVENTS_FIGURE = "event_recovery.png"


def compared(recovery: EventRecovery) -> str:
    """How many clips of how many videos were compared, in a sentence."""
    clips, videos = counted(recovery.clips, "clip"), counted(recovery.videos, "video")
    return f"{recovery.event_clips:,} of {clips} of {videos} have the event."


def event_section(recovery: EventRecovery, figure: bytes) -> Section:
    """The area under the ROC curve of every gate, in a table and in words, with the figure."""
    best = recovery.gates.filter(pl.col("auc").is_not_nan()).sort("auc", descending=True, maintain_order=True)
    meaning = (
        f"{compared(recovery)} The area under the ROC curve is the chance that a clip with the event has a "
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
    return Section(TITLE, f"{meaning}\n\n{found}\n\n{areas}", {EVENTS_FIGURE: figure})


def _area(value: float) -> str:
    return number(None if math.isnan(value) else value)
