"""What every chapter of a report may draw on, computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl

from ..runtime.data.annotations import read_annotations
from ..runtime.errors import DatasetError, NoGroundTruthError
from ..runtime.runs.predictions import read_predictions
from ..runtime.runs.reader import Run
from .evaluation.evaluate import Evaluation, evaluate, evaluate_run
from .evaluation.ground_truth import GroundTruth, read_ground_truth
from .plugins.loading import Plugins
from .relations.clips import ClipStatistics, GateKey, clip_statistics
from .relations.relations import Relations, relate
from .relations.strength import AudioStrength, audio_strength
from .statistics.bootstrap import VideoBootstrap
from .statistics.summary import GateSummary
from .steps import Steps
from .timelines.exemplars import Exemplar, choose_exemplars
from .timelines.timeline import Timeline, timelines


@dataclass(frozen=True)
class AnalysisOptions:
    """What the caller of an analysis chose.

    - ``annotations``: the benchmark's JSONL, for everything that needs ground truth; None without.
    - ``subsets``: by name, the qids that belong to it.
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


@dataclass(frozen=True)
class Context:
    """One run under analysis.

    - ``summary``: all statistics of its gates. ``spread``: of each gate between and within videos.
    - ``queries``: the run's samples (``sample_id, qid, vid, clips, duration``), one row a query.
    - ``videos``: ``sample_id, vid``, one row a sample. ``warnings``: what to know first, in plain text.
    - ``progress``: called once per step by what takes long. ``plugins``: users' own statistics and figures.
    """

    run: Run
    summary: GateSummary
    spread: pl.DataFrame
    queries: pl.DataFrame
    videos: pl.DataFrame
    warnings: tuple[str, ...]
    options: AnalysisOptions = AnalysisOptions()
    progress: Steps = field(default_factory=Steps)
    plugins: Plugins = field(default_factory=Plugins)

    @cached_property
    def texts(self) -> dict[str, str]:
        """The queries' words by qid, from the annotations, else from the predictions; empty with neither."""
        if self.options.annotations is not None:
            return {one.qid: one.query for one in read_annotations(self.options.annotations)}
        return {str(row.get("qid")): str(row.get("query", "")) for row in self.run.predictions()}

    @cached_property
    def exemplars(self) -> tuple[Exemplar, ...]:
        """The queries worth a look, and why each."""
        chosen = choose_exemplars(
            self.queries,
            self.summary.per_sample,
            asked=self.options.samples or (),
            per_query=None if self.evaluation is None else self.evaluation.per_query,
            film=self.summary.film,
        )
        return tuple(chosen)

    @cached_property
    def timelines(self) -> tuple[Timeline, ...]:
        """The queries worth a look, over time."""
        return tuple(timelines(self.run, self.queries, self.exemplars, self.texts, self.truth))

    @cached_property
    def truth(self) -> GroundTruth | None:
        """What the annotations know to be right; None without annotations, or of a test split.

        Raises :class:`~gatescope.runtime.errors.DatasetError` where their ground truth is damaged.
        """
        if self.options.annotations is None:
            return None
        try:
            return read_ground_truth(self.options.annotations)
        except NoGroundTruthError:
            return None

    @cached_property
    def evaluation(self) -> Evaluation | None:
        """How good the run's predictions are, of the queries that are annotated; None without either."""
        if self.truth is None or not self.run.record.predictions:
            return None
        return evaluate_run(self.run, self.truth, allow_missing=True)

    @cached_property
    def training(self) -> Evaluation | None:
        """How good training's own predictions are for the queries in ``evaluation``; None without either.

        Raises :class:`~gatescope.runtime.errors.DatasetError` where they lack some of these queries.
        """
        path, truth, own = self.options.training_predictions, self.truth, self.evaluation
        if path is None or truth is None or own is None:
            return None
        mine = set(own.per_query["qid"].to_list())
        lines = [line for line in read_predictions(path) if str(line["qid"]) in mine]
        if len(lines) < len(mine):
            raise DatasetError(
                f"{path} has no predictions for {len(mine) - len(lines)} of the run's queries",
                expected="predictions for every query of the run",
                fix="give the file that was made for these annotations",
            )
        return evaluate(lines, truth, allow_missing=True)

    @cached_property
    def bootstrap(self) -> VideoBootstrap:
        """Draws of the videos, for values by sample in the order of ``videos``."""
        return VideoBootstrap(self.videos["vid"].to_list())

    @cached_property
    def strength(self) -> AudioStrength:
        """How strong the audio of every clip is, where its features are still to be found."""
        return audio_strength(self.run, self.videos["vid"].to_list())

    @cached_property
    def clips(self) -> ClipStatistics:
        """What every sample's clips say; the gates kind by kind, each from the first layer on."""
        there = set(self.summary.by_layer.select("layer", "gate").iter_rows())
        keys = [
            GateKey(layer, kind)
            for kind in self.summary.kinds
            for layer in self.summary.layers
            if (layer, kind) in there
        ]
        lengths = self.queries.select("sample_id", "clips").unique("sample_id", keep="first")
        videos = self.videos.join(lengths, on="sample_id", how="left", maintain_order="left")
        return clip_statistics(self.run, keys, videos, self.strength, progress=self.progress)

    @cached_property
    def relations(self) -> Relations:
        """How gates relate to each other, to a clip's place in its video and to the strength of the audio."""
        return relate(self.summary.per_sample, self.clips, self.bootstrap)
