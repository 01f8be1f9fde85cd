"""``GateAnalyzer``: the analysis as an object, under the name users know."""

from __future__ import annotations

from pathlib import Path

from ..runtime.runs.reader import Run, open_run
from .analyze import AnalysisResult, analyze_run


class GateAnalyzer:
    """Analyses the gates of one run; the same code as ``gatescope analyze``.

    ``run`` is a run folder, by path or opened with ``gatescope.runtime.open_run``.
    """

    def __init__(self, run: Run | str | Path) -> None:
        self.run = run if isinstance(run, Run) else open_run(run)

    def analyze_all_samples(self, output: str | Path) -> AnalysisResult:
        """Write report, statistics and figures of all samples into ``output``; see :func:`analyze_run`."""
        return analyze_run(self.run, output)
