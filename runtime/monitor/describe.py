"""Alarms and readings in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from .alarm import Alarm, AlarmKind, WindowReading
from .detectors import DETECTORS, SECONDS


def where(slice_: str) -> str:
    """``all traffic``, or the slice."""
    return f"slice {slice_}" if slice_ else "all traffic"


def headline(alarm: Alarm) -> str:
    """One alarm in a line: what, where, how far, what it looks like."""
    place = where(alarm.slice)
    if alarm.state == "resolved":
        return f"alarm {alarm.number} resolved in {place}: {alarm.diagnosis.label}"
    found = f"alarm {alarm.number} in {place}: {alarm.diagnosis.label} ({', '.join(alarm.kinds)})"
    return f"{found}; {reading_text(alarm.readings[0])}" if alarm.readings else found


def reading_text(reading: WindowReading) -> str:
    """``drift of attention.0 is 0.31, baseline 0.02, threshold 0.07 (window 25)``."""
    row = f" of {reading.gate}.{reading.layer}" if reading.layer is not None else ""
    detector = DETECTORS[reading.kind]

    def number(value: float) -> str:
        return (
            f"{value:.1%}" if detector.is_share else f"{value:.4g}{' s' if detector.unit == SECONDS else ''}"
        )

    text = (
        f"{reading.kind}{row} is {number(reading.value)}, baseline {number(reading.baseline)},"
        f" threshold {_threshold(reading, number)}"
    )
    return f"{text} (window {reading.window})" if reading.window else text


def _threshold(reading: WindowReading, number: Callable[[float], str]) -> str:
    """The threshold as ``number`` writes it; of a share beyond 1, that nothing can exceed it."""
    beyond = DETECTORS[reading.kind].is_share and reading.threshold > 1
    return "none (over 100%)" if beyond else number(reading.threshold)


def alarm_text(alarm: Alarm) -> str:
    """The whole alarm, a few lines."""
    lines = [f"{moment(alarm.last)}  {headline(alarm)}"]
    lines += [f"    {sentence}" for sentence in alarm.diagnosis.evidence]
    if alarm.state == "firing":
        lines += [f"    {reading_text(reading)}" for reading in alarm.readings[1:4]]
        more = len(alarm.readings) - 4
        lines += [f"    and {more} more beyond their thresholds"] if more > 0 else []
        lines += _examples(alarm)
    return "\n".join(lines)


def readings_table(readings: Sequence[WindowReading]) -> str:
    """Readings under each other, as a table of text."""
    rows: list[tuple[str, ...]] = [("", "gate", "value", "baseline", "threshold", "beyond")]
    for one in readings:
        gate = f"{one.gate}.{one.layer}" if one.layer is not None else "all"

        def number(value: float, kind: AlarmKind = one.kind) -> str:
            return f"{value:.1%}" if DETECTORS[kind].is_share else f"{value:.4f}"

        shown = (number(one.value), number(one.baseline), _threshold(one, number))
        rows.append((str(one.kind), gate, *shown, f"{one.excess:.2f}x" if one.excess >= 1 else ""))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def moment(seconds: float) -> str:
    """Unix seconds as ISO 8601 in UTC; a time that no calendar has as its number."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return f"{seconds:.0f} s"


def _examples(alarm: Alarm) -> list[str]:
    named = [example for example in alarm.examples if example.sample_id or example.segment]
    if not named:
        return []
    shown = ", ".join(
        (example.sample_id or "(no id)") + (f" in {example.segment}" if example.segment else "")
        for example in named
    )
    return [f"    look at: {shown}"]
