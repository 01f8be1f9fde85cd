"""``GateAnalyzer``: the analysis as an object, under the name users know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ..runtime.errors import UsageError
from ..runtime.runs.reader import Run
from ..runtime.tracking.ids import id_text
from ..runtime.tracking.recorded import RecordedGates
from ..runtime.tracking.source import RunSource, run_of
from .analyze import AnalysisResult, analyze_run
from .context import Options
from .gate_frame import FrameGates


class GateAnalyzer:
    """Analyses the gates of one run; the same code as ``gatescope analyze``.

    ``source`` is a run folder, by path or opened with ``gatescope.runtime.open_run``; what tracks gates: a
    tracker, or the fusion module of a model adapted by ``gatescope.export.adapt_legacy_model``; or a polars
    LazyFrame (or DataFrame) of a gate table. Of a tracker everything is analysed that it holds when the
    analysis begins, whether it is still on or not. A table does not tell its ``ranges`` and ``gating``: see
    :class:`~gatescope.analysis.gate_frame.FrameGates`.

    For subclasses: ``self.model.gate_history`` maps each sample id to its gates, whatever the source is.
    """

    def __init__(
        self,
        source: Run | RunSource | pl.LazyFrame | pl.DataFrame | str | Path,
        *,
        ranges: Mapping[str, tuple[float, float]] | None = None,
        gating: str | None = None,
    ) -> None:
        if isinstance(source, (pl.LazyFrame, pl.DataFrame)):
            self.model = FrameGates(source.lazy(), ranges=ranges, gating=gating)
        elif ranges is not None or gating is not None:
            raise UsageError(
                "ranges and gating are for a table of gates",
                received=f"a {type(source).__name__}, which tells them itself",
                fix="leave them out",
            )
        else:
            self.model = source if isinstance(source, RunSource) else RecordedGates(run_of(source))

    @property
    def run(self) -> Run:
        """The run that is analysed; of a tracker, what it holds now."""
        return self.model.as_run()

    def analyze_all_samples(self, output: str | Path, **options: Any) -> AnalysisResult:
        """Write report, statistics and figures of all samples into ``output``; see :func:`analyze_run`.

        ``options`` are the fields of :class:`~gatescope.analysis.context.Options`: ``annotations``,
        ``samples=["12", "15"]`` (or ``"all"``), ``compare=[]``, ``raw=True``, ….
        """
        return analyze_run(self.run, output, options=_options(options))


def _options(given: Mapping[str, Any]) -> Options:
    """The options with ids of any type as text, and paths as such."""
    options = dict(given)
    for name in ("samples", "compare"):
        if options.get(name) is not None:
            ids: str | Iterable[Any] = options[name]
            options[name] = (ids,) if isinstance(ids, str) else tuple(id_text(one) for one in ids)
    if options.get("annotations") is not None:
        options["annotations"] = Path(options["annotations"])
    if "plugins" in options:
        options["plugins"] = tuple(Path(one) for one in options["plugins"])
    return Options(**options)
