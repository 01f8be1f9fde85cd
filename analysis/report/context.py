"""What every chapter of a report may draw on, computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from ...runtime.brief import counted
from ...runtime.data.annotations import read_annotations
from ...runtime.runs.reader import Run
from ..statistics.bootstrap import VideoBootstrap
from ..statistics.summary import GateSummary, summarise
from ..statistics.videos import spread_over_videos, videos_of
from .markdown import without_folders
from .steps import Steps
from .warnings import run_warnings

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class AnalysisOptions:
    """What the caller of an analysis chose.

    - ``annotations``: the benchmark's JSONL, for everything that needs ground truth; None without.
    - ``subsets``: by name, the qids that belong to it. ``subset_files``: by name, the file they were
      read from, which the report's command names.
    - ``samples``: ids to show one by one, sample_ids or qids; None: a choice of exemplars, ``("all",)``:
      every sample. ``compare``: ids to set side by side; None: none, empty: the first five.
    - ``raw``: write the gates of these samples as ``.npy`` files too.
    - ``plugins``: files of Python code that register statistics and figures.
    - ``training_predictions``: what training predicted for the same queries. ``ablation``: the folder of a
      finished ablation of the run's model.
    """

    annotations: Path | None = None
    subsets: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    samples: tuple[str, ...] | None = None
    compare: tuple[str, ...] | None = None
    raw: bool = False
    plugins: tuple[Path, ...] = ()
    training_predictions: Path | None = None
    ablation: Path | None = None
    subset_files: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Context:
    """One run under analysis: what was asked for, and what is found, each when it is first needed.

    What one chapter's folder computes and others read stays in that folder: see :meth:`once`.
    ``progress`` is called once per step by what takes long.
    """

    run: Run
    options: AnalysisOptions = AnalysisOptions()
    progress: Steps = field(default_factory=Steps)
    _found: dict[Callable[[Context], Any], Any] = field(
        default_factory=dict[Any, Any], init=False, repr=False
    )

    def once(self, compute: Callable[[Context], _Found]) -> _Found:
        """What ``compute`` finds in this context; it is called the first time only."""
        if compute not in self._found:
            self._found[compute] = compute(self)
        return self._found[compute]

    @cached_property
    def summary(self) -> GateSummary:
        """All statistics of the run's gates."""
        return summarise(self.run, progress=self.progress)

    @cached_property
    def queries(self) -> pl.DataFrame:
        """The run's samples (``sample_id, qid, vid, clips, duration``), one row per query."""
        return self.run.samples.collect()

    @cached_property
    def videos(self) -> pl.DataFrame:
        """``sample_id, vid``, one row per sample."""
        return videos_of(self.queries)

    @cached_property
    def video_count(self) -> int:
        """How many videos the samples are of."""
        return self.videos["vid"].n_unique()

    @cached_property
    def spread(self) -> pl.DataFrame:
        """How every gate varies between videos and within them."""
        return spread_over_videos(self.summary.per_sample, self.videos)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What to know before believing the report, in plain text."""
        return tuple(map(without_folders, run_warnings(self.run, self.summary)))

    @cached_property
    def texts(self) -> dict[str, str]:
        """The queries' words by qid, from the annotations, else from the predictions; empty with neither."""
        if self.options.annotations is not None:
            return {one.qid: one.query for one in read_annotations(self.options.annotations)}
        return {str(row.get("qid")): str(row.get("query", "")) for row in self.run.predictions()}

    @cached_property
    def bootstrap(self) -> VideoBootstrap:
        """Draws of the videos, for values by sample in the order of ``videos``."""
        return VideoBootstrap(self.videos["vid"].to_list())

    @property
    def subtitle(self) -> str:
        """What a figure of the whole run shows, in a line."""
        layers, samples = counted(len(self.summary.layers), "layer"), counted(self.summary.samples, "sample")
        return f"{self.summary.gating.capitalize()} gating, {layers}, {samples}."
