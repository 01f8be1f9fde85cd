"""``GateAnalyzer``: the analysis as an object, under the name users know."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from ..runtime.brief import counted, one_line
from ..runtime.errors import UsageError
from ..runtime.files import local
from ..runtime.progress import in_notebook, steps_progress
from ..runtime.runs.reader import Run
from ..runtime.tracking.ids import id_text
from ..runtime.tracking.recorded import RecordedGates
from ..runtime.tracking.source import RunSource, run_of
from .analyze import AnalysisResult, analyze_run
from .gate_frame import FrameGates
from .report.context import AnalysisOptions


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

    def analyze_all_samples(
        self,
        output: str | Path,
        *,
        annotations: str | Path | None = None,
        subsets: Mapping[str, Iterable[Hashable]] | None = None,
        samples: str | Iterable[Hashable] | None = None,
        compare: str | Iterable[Hashable] | None = None,
        raw: bool = False,
        plugins: Sequence[str | Path] = (),
        training_predictions: str | Path | None = None,
        ablation: str | Path | None = None,
        progress: bool | None = None,
    ) -> AnalysisResult:
        """Write report, statistics and figures of all samples into ``output``; see :func:`analyze_run`.

        - ``annotations``: the benchmark's JSONL, for everything that needs ground truth.
        - ``subsets``: by name, the qids that belong to it.
        - ``samples``: ids to show one by one, sample_ids or qids, ``"all"`` for every sample; by default a
          few that say most. ``compare``: ids to set side by side, ``[]`` for the first five; by default none.
        - ``raw``: write the gates of these samples as ``.npy`` files too.
        - ``plugins``: files of Python code that register statistics and figures.
        - ``training_predictions``: what training predicted for the same queries (JSONL). ``ablation``: the
          folder of a finished ablation of the run's model.
        - ``progress``: whether to show on stderr how far it is; by default in a notebook only.
        """
        options = AnalysisOptions(
            annotations=None if annotations is None else local(annotations),
            subsets={name: frozenset(_texts(ids)) for name, ids in (subsets or {}).items()},
            samples=None if samples is None else _texts(samples),
            compare=None if compare is None else _texts(compare),
            raw=raw,
            plugins=tuple(local(one) for one in plugins),
            training_predictions=None if training_predictions is None else local(training_predictions),
            ablation=None if ablation is None else local(ablation),
        )
        if not (in_notebook() if progress is None else progress):
            return analyze_run(self.run, output, options=options)
        with steps_progress("analysing") as show:
            return analyze_run(self.run, output, options=options, progress=show)

    def __repr__(self) -> str:
        source = self.model
        if isinstance(source, RecordedGates | FrameGates):
            return one_line(self, "a table" if isinstance(source, FrameGates) else repr(source.as_run()))
        kind = type(source).__name__
        return one_line(self, kind, f"{counted(len(source.gate_history), 'id')} tracked")


def _texts(ids: str | Iterable[Hashable]) -> tuple[str, ...]:
    """Ids of any type as text; a text is one id."""
    return (ids,) if isinstance(ids, str) else tuple(id_text(one) for one in ids)
