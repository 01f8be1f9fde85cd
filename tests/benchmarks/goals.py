"""What is promised, what was measured, and whether the one meets the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .spread import Spread

Unit = Literal["×", "%", "share"]
_DIGITS = {"×": 2, "%": 1, "share": 2}


@dataclass(frozen=True)
class Goal:
    """A limit for one number: at least or at most ``limit``; without one the number is only reported."""

    what: str
    unit: Unit
    at_least: float | None = None
    at_most: float | None = None

    def met_by(self, value: float) -> bool | None:
        """Whether ``value`` keeps the limit; None where there is none."""
        if self.at_least is not None:
            return value >= self.at_least
        return None if self.at_most is None else value <= self.at_most

    @property
    def text(self) -> str:
        """The limit, for people."""
        if self.at_least is not None:
            return f"≥ {number(self.at_least, self.unit)}"
        return "" if self.at_most is None else f"≤ {number(self.at_most, self.unit)}"


@dataclass(frozen=True)
class Verdict:
    """A goal and what was measured; ``measured`` is None where it could not be, and ``note`` says why."""

    goal: Goal
    measured: Spread | None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the limit; None where there is nothing to judge."""
        return None if self.measured is None else self.goal.met_by(self.measured.median)

    def cells(self, *, judged: bool) -> list[str]:
        """Its row: goal, limit, measured, spread, met. Not ``judged``: sizes at which limits mean nothing."""
        measured, unit = self.measured, self.goal.unit
        if measured is None:
            return [self.goal.what, self.goal.text, self.note, "", "not measured"]
        met = {True: "yes", False: "no", None: ""}[self.met if judged else None]
        return [self.goal.what, self.goal.text, number(measured.median, unit), interval(measured, unit), met]


COLUMNS = ["", "goal", "measured", "quartiles (smallest – largest)", "met"]


def number(value: float, unit: Unit) -> str:
    """``value`` with its unit."""
    shown = f"{value:.{_DIGITS[unit]}f}"
    return {"×": f"{shown}×", "%": f"{shown}%", "share": shown}[unit]


def interval(measured: Spread, unit: Unit) -> str:
    """Quartiles and extremes; nothing for a single measurement."""
    if measured.count == 1:
        return "one measurement"
    low, high, least, most = (
        f"{value:.{_DIGITS[unit]}f}"
        for value in (measured.lower, measured.upper, measured.smallest, measured.largest)
    )
    return f"{low} – {high} ({least} – {most})"
