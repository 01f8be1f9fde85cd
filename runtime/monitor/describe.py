"""Alarms and readings in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from .alarm import Alarm, AlarmKind, WindowReading

#: What each detector looks for, as a person would say it.
MEANING: dict[AlarmKind, str] = {
    "drift": "gates are distributed otherwise",
    "level": "gates are higher or lower on average",
    "saturation": "more videos whose gates are mostly saturated",
    "collapse": "more videos whose gates are at zero throughout",
    "constant": "more videos whose gates do not change over their clips",
    "frozen": "different videos have the same gates to the last bit",
    "nan": "gates that are no finite numbers",
    "stale": "no traffic",
    "missing": "a slice of the traffic is missing",
    "loss": "videos were not written to the log",
}
_SHARES = ("saturation", "collapse", "constant", "frozen", "nan")


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
    of = "%" if reading.kind in _SHARES else " s" if reading.kind == "stale" else ""

    def number(value: float) -> str:
        return f"{value:.1%}" if of == "%" else f"{value:.4g}{of}"

    text = (
        f"{reading.kind}{row} is {number(reading.value)}, baseline {number(reading.baseline)},"
        f" threshold {_threshold(reading, number)}"
    )
    return f"{text} (window {reading.window})" if reading.window else text


def _threshold(reading: WindowReading, number: Callable[[float], str]) -> str:
    """The threshold as ``number`` writes it; of a share beyond 1, that nothing can exceed it."""
    beyond = reading.kind in _SHARES and reading.threshold > 1
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
            return f"{value:.1%}" if kind in _SHARES else f"{value:.4f}"

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
