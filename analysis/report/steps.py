"""How far an analysis is: one step per sample and pass over the gates, and one per sample that is drawn."""

from __future__ import annotations

from collections.abc import Callable

from ...runtime.runs.reader import Run

#: Told how many steps are done, and how many there will be as far as is known.
Progress = Callable[[int, int], object]


class Steps:
    """Counts steps, of which there may turn out to be more, and reports them; called once per step."""

    def __init__(self, report: Progress | None = None) -> None:
        self.done = self.total = 0
        self._report = report

    def expect(self, more: int) -> None:
        """There will be ``more`` steps than were known of."""
        self.total += more

    def __call__(self) -> None:
        """One more step is done."""
        self.done += 1
        self.total = max(self.total, self.done)
        if self._report is not None:
            self._report(self.done, self.total)


def reading_steps(run: Run, *, statistics: bool) -> int:
    """The steps of every pass over a run's gates: two for the statistics, one clip by clip, and one more
    where there are ``statistics`` of the user's own.
    """
    return (4 if statistics else 3) * run.record.samples_in(run.parts)


def after(finished: int, following: int, report: Progress) -> Progress:
    """Reports one of several analyses: ``finished`` steps came before it, ``following`` are to come."""
    return lambda done, total: report(finished + done, finished + total + following)
