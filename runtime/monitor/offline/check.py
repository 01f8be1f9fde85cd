"""One finished run held against a baseline: the whole run is one window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from ...errors import BaselineError
from ...runs.reader import Run
from ..alarm import AlarmKind, Diagnosis, WindowReading
from ..baseline.baseline import Baseline
from ..baseline.sources import model_of_run, videos_of_run
from ..baseline.videos import expected_twins
from ..describe import readings_table
from ..detection.readings import read_window, reference_of
from ..detection.window import window_sums
from ..detectors import DETECTORS
from ..diagnosis.diagnose import diagnose

FEWEST_CHECKED_VIDEOS = 10


@dataclass(frozen=True)
class Check:
    """What a run looks like beside its baseline.

    - ``videos``: of the run, each once. ``kinds``: the detectors beyond their threshold, the strongest first;
      empty where the run is as the baseline. ``readings``: of every detector and row.
    - ``diagnosis``: what it looks like, or None where nothing is wrong.
    """

    run: str
    baseline_videos: int
    model: str
    videos: int
    false_alarms: float
    kinds: tuple[AlarmKind, ...]
    readings: tuple[WindowReading, ...]
    diagnosis: Diagnosis | None

    @property
    def within(self) -> bool:
        """Whether every detector is within its threshold."""
        return not self.kinds

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects."""
        return {"within": self.within, **msgspec.to_builtins(self)}

    def text(self) -> str:
        """A report for people."""
        lines = [
            f"{self.run}: {self.videos} videos of model {self.model} against {self.baseline_videos} of the"
            f" baseline, at {self.false_alarms:.3g} false alarms a check",
            "",
        ]
        if self.diagnosis is None:
            return "\n".join([*lines, "within every threshold", "", readings_table(self._worst())])
        lines.append(f"NOT as the baseline: {self.diagnosis.label}")
        lines += [f"  {kind}: {DETECTORS[kind].meaning}" for kind in self.kinds]
        lines += [f"  {sentence}" for sentence in self.diagnosis.evidence]
        firing = sorted((one for one in self.readings if one.excess >= 1), key=lambda one: -one.excess)
        return "\n".join([*lines, "", readings_table(firing)])

    def _worst(self) -> list[WindowReading]:
        """Of each detector the row that is nearest to its threshold."""
        worst: dict[AlarmKind, WindowReading] = {}
        for one in self.readings:
            if one.kind not in worst or one.excess > worst[one.kind].excess:
                worst[one.kind] = one
        return list(worst.values())


def check_run(run: Run, baseline: Baseline) -> Check:
    """Hold all videos of ``run`` against ``baseline``, at its false-alarm rate for the check as a whole.

    Raises :class:`~gatescope.runtime.errors.BaselineError` for a run of another model, without gates, or of
    fewer than 10 videos.
    """
    baseline.check_model(model_of_run(run), str(run.path))
    counts = videos_of_run(run).counts
    if len(counts) < FEWEST_CHECKED_VIDEOS:
        raise BaselineError(
            f"{run.path} has too few videos to be held against a baseline",
            received=f"{len(counts)} different videos",
            expected=f"at least {FEWEST_CHECKED_VIDEOS}",
            fix="run more of them",
        )
    sums, flags = window_sums(counts)
    read = read_window(
        reference_of(baseline), baseline.thresholds_for(len(counts)), sums, flags, expected_twins(counts)
    )
    kinds = read.kinds()
    found = (
        diagnose(baseline.signatures, baseline.layout, baseline.videos.counts, counts, read.firing())
        if kinds
        else None
    )
    return Check(
        run=str(run.path),
        baseline_videos=len(baseline.videos),
        model=baseline.model.version,
        videos=len(counts),
        false_alarms=baseline.false_alarms,
        kinds=kinds,
        readings=tuple(read.listed()),
        diagnosis=found,
    )
