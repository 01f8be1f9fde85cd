"""Gates by epoch: every checkpoint of a results folder on the same videos, next to what training logged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from ...runtime.brief import brief, counted
from ...runtime.causes import told_causes
from ...runtime.data.dataset import Dataset
from ...runtime.errors import CheckpointError, UnsupportedModelError, WeightsMismatchError
from ...runtime.gates.manifest import Manifest
from ..families.choices import Choices
from ..reading.results import ResultsFolder
from ..user.adapting import adapting
from .gates import LayerGates, gates_of, read_videos
from .logs import TrainingLog, read_metrics, read_training_log
from .snapshots import CodeModel, NotShownError, RebuiltModel, Snapshot, TrainedModel
from .turns import Turn, states_of, turns_of

#: The columns of :attr:`EpochGates.frame` and of ``epochs.csv``.
COLUMNS: dict[str, Any] = {
    "epoch": pl.Int64,
    "checkpoint": pl.String,
    "layer": pl.Int64,
    "gate": pl.String,
    "count": pl.Int64,
    "mean": pl.Float64,
    "std": pl.Float64,
    "mean_abs": pl.Float64,
    "share_saturated": pl.Float64,
    "share_near_zero": pl.Float64,
    "share_shut": pl.Float64,
    "state": pl.String,
    "metric": pl.Float64,
    "train_loss": pl.Float64,
    "note": pl.String,
}
_ONE_EPOCH = "there is one epoch to show: training's script keeps model_e….ckpt only now and then"
_OWN_CODE = (
    "let your own code build a model that gatescope does not rebuild: --model package.module:factory; or log "
    "its gates while it is trained: tracker.scalars()"
)


@dataclass(frozen=True)
class EpochGates:
    """What was found.

    - ``frame``: :data:`COLUMNS`, one row per epoch, layer and gate, in that order. ``checkpoint`` names all
      files that hold these very weights; ``metric`` and ``train_loss`` are what training logged for
      the epoch; where weights are not finite ``note`` says so and the statistics are null.
    - ``metric``: the name of the logged metric; None where none was logged. ``log``: all that was logged.
    - ``turns``: gates that opened or shut. ``skipped``: files that are not shown, each with the reason.
    - ``videos``: on how many videos. ``film``: kinds that act as 1 + g.
    """

    folder: Path
    annotations: Path
    videos: int
    frame: pl.DataFrame
    metric: str | None
    log: TrainingLog
    turns: tuple[Turn, ...]
    skipped: tuple[tuple[str, str], ...]
    film: tuple[str, ...]
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        return brief(self)


def gates_by_epoch(
    results: ResultsFolder,
    dataset: Dataset,
    choices: Choices | None = None,
    *,
    factory: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> EpochGates:
    """Compute the gates of every checkpoint of ``results`` on the same videos of ``dataset``.

    The checkpoint that ``results`` takes says which model it is; others that hold another model, or cannot be
    read, are skipped with the reason, and one whose weights are not finite is shown as such. Nothing is
    exported: each model runs in PyTorch, up to its gates. With ``factory`` (``package.module:function``) the
    user's own code builds the model and runs. ``tell`` is called with a line for each step.

    Raises :class:`~gatescope.runtime.errors.CheckpointError` where no checkpoint can be shown, and what
    describing the model and reading the data raise.
    """
    with nullcontext() if factory is None else adapting():
        return _gates_by_epoch(_model_of(results, choices or Choices(), factory), results, dataset, tell)


def _gates_by_epoch(
    trained: TrainedModel, results: ResultsFolder, dataset: Dataset, tell: Callable[[str], None]
) -> EpochGates:
    manifest = trained.manifest()
    tell("reading the videos")
    videos = read_videos(dataset, manifest, trained.batch_size)
    found: list[tuple[Snapshot, Sequence[LayerGates]]] = []
    skipped: list[tuple[str, str]] = []
    for path in results.checkpoints:
        tell(f"computing the gates of {path.name}")
        try:
            snapshot = trained.snapshot(path)
            same = next((i for i, (one, _) in enumerate(found) if _same(one, snapshot)), None)
            if same is not None:
                one, gates = found[same]
                found[same] = replace(one, name=f"{one.name}, {path.name}"), gates
                continue
            graph = None if snapshot.not_finite else trained.graph(snapshot.weights)
            gates = () if graph is None else gates_of(graph, manifest, videos.batches)
        except (NotShownError, WeightsMismatchError) as reason:
            skipped.append((path.name, str(reason).splitlines()[0]))
            continue
        # Only the numbers are kept: weights are as large as their file.
        found.append((replace(snapshot, weights={}), gates))
    if not found:
        raise _nothing(results, skipped)
    found.sort(key=lambda pair: pair[0].epoch)
    log = _log(results)
    frame = _frame(found, manifest, log)
    warnings = [*log.notes, *manifest.warnings]
    if videos.bad:
        warnings.append("left out: " + "; ".join(told_causes(videos.bad, "video", len(videos.bad))))
    if len(found) == 1:
        warnings.append(_ONE_EPOCH)
    return EpochGates(
        results.folder,
        dataset.annotations,
        len(videos.queries),
        frame,
        log.main_metric,
        log,
        _turns(frame),
        tuple(skipped),
        tuple(kind for kind in manifest.tracked_kinds if manifest.acts_as(kind) == "1+g"),
        tuple(warnings),
    )


def _model_of(results: ResultsFolder, choices: Choices, factory: str | None) -> TrainedModel:
    if factory is not None:
        return CodeModel(results.read, choices, factory)
    try:
        return RebuiltModel(results.read, choices)
    except (UnsupportedModelError, WeightsMismatchError) as error:
        raise type(error)(
            error.problem, received=error.received, expected=error.expected, fix=_OWN_CODE
        ) from error


def logged_metric(found: EpochGates) -> dict[int, float]:
    """The metric that is shown, by every epoch for which it was logged."""
    logged = {epoch: own.get(found.metric or "") for epoch, own in found.log.metrics.items()}
    return {epoch: value for epoch, value in logged.items() if value is not None}


def _same(one: Snapshot, other: Snapshot) -> bool:
    return (one.epoch, one.sha256) == (other.epoch, other.sha256)


def _log(results: ResultsFolder) -> TrainingLog:
    """What training logged; of the checkpoint taken also from the metrics next to its predictions."""
    log, epoch = read_training_log(results.folder), results.read.content.get("epoch")
    if results.left.metrics is None or not isinstance(epoch, int) or epoch in log.metrics:
        return log
    own = read_metrics(results.left.metrics)
    if own is None:
        return replace(log, notes=(*log.notes, f"{results.left.metrics.name} could not be read"))
    return replace(log, metrics=log.metrics | {epoch: own})


def _frame(
    found: Sequence[tuple[Snapshot, Sequence[LayerGates]]], manifest: Manifest, log: TrainingLog
) -> pl.DataFrame:
    keys = [(gate.layer, gate.kind) for gate in manifest.gates]
    shown = [i for i, (_, gates) in enumerate(found) if gates]
    states: dict[tuple[int, tuple[int, str]], str] = {}
    for place, key in enumerate(keys):
        own = states_of(found[i][1][place].share_shut for i in shown)
        states |= {(i, key): state for i, state in zip(shown, own, strict=True)}
    rows: list[dict[str, Any]] = []
    for i, (snapshot, gates) in enumerate(found):
        metric = log.metrics.get(snapshot.epoch, {}).get(log.main_metric or "")
        for place, (layer, kind) in enumerate(keys):
            row: dict[str, Any] = {
                "epoch": snapshot.epoch,
                "checkpoint": snapshot.name,
                "layer": layer,
                "gate": kind,
                "metric": metric,
                "train_loss": log.losses.get(snapshot.epoch),
            }
            if gates:
                row |= _numbers(gates[place]) | {"state": states[i, (layer, kind)]}
            else:
                row["note"] = f"{counted(snapshot.not_finite, 'weight')} NaN or infinite"
            rows.append(row)
    return pl.DataFrame(rows, schema=COLUMNS)


def _numbers(gates: LayerGates) -> dict[str, Any]:
    summary = gates.summary
    return {
        "count": summary.count,
        "mean": summary.mean,
        "std": summary.std,
        "mean_abs": summary.mean_abs,
        "share_saturated": summary.share_saturated,
        "share_near_zero": summary.share_near_zero,
        "share_shut": gates.share_shut,
    }


def _turns(frame: pl.DataFrame) -> tuple[Turn, ...]:
    found: list[Turn] = []
    for (layer, gate), rows in frame.filter(pl.col("share_shut").is_not_null()).group_by(
        "layer", "gate", maintain_order=True
    ):
        found += turns_of(int(str(layer)), str(gate), rows["epoch"].to_list(), rows["share_shut"].to_list())
    return tuple(sorted(found, key=lambda one: (one.at, one.gate, one.layer)))


def _nothing(results: ResultsFolder, skipped: Sequence[tuple[str, str]]) -> CheckpointError:
    return CheckpointError(
        f"no checkpoint of {results.folder} can be shown",
        received="\n    ".join(f"{name}: {reason}" for name, reason in skipped),
        expected="checkpoints of one model, each with its epoch",
        fix="--checkpoint NAME says which of them is the model",
    )
