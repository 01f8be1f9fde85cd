"""``GateAnalyzer``: the analysis as an object, under the name users know."""

from __future__ import annotations

from pathlib import Path

from ..runtime.runs.reader import Run
from ..runtime.tracking.recorded import RecordedGates
from ..runtime.tracking.source import RunSource, run_of
from .analyze import AnalysisResult, analyze_run


class GateAnalyzer:
    """Analyses the gates of one run; the same code as ``gatescope analyze``.

    ``source`` is a run folder, by path or opened with ``gatescope.runtime.open_run``, or what tracks gates:
    a tracker, or the fusion module of a model adapted by ``gatescope.export.adapt_legacy_model``. Of a
    tracker everything is analysed that it holds when the analysis begins, whether it is still on or not.

    For subclasses: ``self.model.gate_history`` maps each sample id to its gates, whatever the source is.
    """

    def __init__(self, source: Run | RunSource | str | Path) -> None:
        self.model = source if isinstance(source, RunSource) else RecordedGates(run_of(source))

    @property
    def run(self) -> Run:
        """The run that is analysed; of a tracker, what it holds now."""
        return self.model.as_run()

    def analyze_all_samples(self, output: str | Path) -> AnalysisResult:
        """Write report, statistics and figures of all samples into ``output``; see :func:`analyze_run`."""
        return analyze_run(self.run, output)
