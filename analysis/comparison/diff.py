"""Did an upgrade change anything: two runs, compared within a tolerance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ...runtime.brief import brief
from ...runtime.errors import UsageError
from ...runtime.runs.reader import Run, open_run
from .gate_differences import GateDifference, channels_of, gate_differences
from .prediction_differences import PredictionDifferences, prediction_differences
from .runs import differing_settings

_NAMED = 5


@dataclass(frozen=True)
class RunDifference:
    """What two runs have in common and what not.

    - ``settings``: (what, in the first run, in the second) for everything about model, data and machine that
      differs; none of it is a fault by itself.
    - ``only_one``, ``only_other``: ids of samples that only the first or only the second run has.
    - ``gates``: one entry a layer and kind; empty where they cannot be compared. ``predictions``: None where
      a run has none.
    - ``notes``: what only one run can have and was therefore not compared; none of it is a fault.
    - ``faults``: why the runs are not the same within ``tolerance``, in plain text; empty where they are.
    """

    one: Path
    other: Path
    tolerance: float
    settings: tuple[tuple[str, str, str], ...]
    samples: int
    only_one: tuple[str, ...]
    only_other: tuple[str, ...]
    gates: tuple[GateDifference, ...]
    predictions: PredictionDifferences | None
    faults: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def within(self) -> bool:
        """Whether the runs are the same within the tolerance."""
        return not self.faults

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python objects."""
        return {
            **asdict(self),
            "one": str(self.one),
            "other": str(self.other),
            "settings": [dict(zip(("what", "one", "other"), row, strict=True)) for row in self.settings],
            "within_tolerance": self.within,
        }

    def __repr__(self) -> str:
        return brief(self)


def diff_runs(
    one: Run | str | Path,
    other: Run | str | Path,
    *,
    tolerance: float = 1e-3,
    advance: Callable[[int], object] = lambda _: None,
) -> RunDifference:
    """Compare two runs: models, samples, gates part by part, predictions as far as both have them.

    ``tolerance`` is the largest difference that a gate, a score, a saliency or (as a fraction of the
    duration) a window may show; with 0 everything must be equal. ``advance`` is told how many more samples
    were compared. Raises :class:`~gatescope.runtime.errors.UsageError` where the runs have nothing to compare
    and :class:`~gatescope.runtime.errors.RunFolderError` for a folder that is no run.
    """
    one, other = (run if isinstance(run, Run) else open_run(run) for run in (one, other))
    faults: list[str] = []
    for run in (one, other):
        if not run.finished:
            faults.append(f"{run.path} is not finished")
    samples, only_one, only_other = _samples(one, other, faults)
    gates: tuple[GateDifference, ...] = ()
    both_gates = bool(one.record.gates and other.record.gates)
    both_predict = bool(one.record.predictions and other.record.predictions)
    if not both_gates and not both_predict:
        raise UsageError(
            f"{one.path} and {other.path} have nothing to compare",
            received=f"{_stored(one)}; {_stored(other)}",
            expected="two runs with gates, or two with predictions",
        )
    notes: list[str] = []
    for having, lacking in ((one, other), (other, one)):
        if having.record.gates and not lacking.record.gates:
            faults.append(f"only {having.path} has gates")
        if having.record.predictions and not lacking.record.predictions:
            # An imported log and a file exported with --outputs gates hold none: that is no change.
            notes.append(f"predictions: only in {having.path}, not compared")
    if both_gates and _comparable(one, other, faults):
        gates = tuple(gate_differences(one, other, advance=advance))
        faults += _gate_faults(one, other, gates, tolerance)
    predictions = None
    if both_predict:
        predictions = prediction_differences(one, other, tolerance)
        faults += _prediction_faults(predictions, tolerance)
    return RunDifference(
        one.path,
        other.path,
        tolerance,
        tuple((name, told[0], told[1]) for name, told in differing_settings([one, other])),
        samples,
        only_one,
        only_other,
        gates,
        predictions,
        tuple(faults),
        tuple(notes),
    )


def _samples(one: Run, other: Run, faults: list[str]) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    left, right = (
        run.samples.select("sample_id", "clips").unique("sample_id", maintain_order=True).collect()
        for run in (one, other)
    )
    both = left.join(right, on="sample_id", suffix="_other", maintain_order="left")
    only = [
        tuple(table.join(both, on="sample_id", how="anti", maintain_order="left")["sample_id"].to_list())
        for table in (left, right)
    ]
    for run, names in zip((one, other), only, strict=True):
        if names:
            faults.append(f"{len(names):,} samples are only in {run.path}: {_named(names)}")
    if both.is_empty():
        raise UsageError(
            f"{one.path} and {other.path} have no sample in common",
            received=f"{_named(only[0])} and {_named(only[1])}",
            expected="runs of the same dataset",
        )
    shorter = both.filter(pl.col("clips") != pl.col("clips_other"))["sample_id"].to_list()
    if shorter and _knows_clips(one) and _knows_clips(other):
        faults.append(f"{len(shorter):,} samples have another number of clips: {_named(shorter)}")
    return both.height, only[0], only[1]


def _knows_clips(run: Run) -> bool:
    """False for an imported log of global gates: nothing in it says how long a video is."""
    recipe = run.manifest.preprocessing
    return recipe.clip_length > 0 or any(gate.per_clip for gate in run.manifest.gates)


def _comparable(one: Run, other: Run, faults: list[str]) -> bool:
    """Whether gates of both runs mean the same thing, one by one."""
    channels = channels_of([one, other])
    if one.manifest.gating == other.manifest.gating and channels[0] == channels[1]:
        return True
    told = [
        f"{run.manifest.gating} ({count} {'channel' if count == 1 else 'channels'})"
        for run, count in zip((one, other), channels, strict=True)
    ]
    faults.append(f"the gates cannot be compared: {told[0]} and {told[1]}")
    return False


def _gate_faults(one: Run, other: Run, gates: Sequence[GateDifference], tolerance: float) -> list[str]:
    faults: list[str] = []
    compared = {(gate.layer, gate.kind) for gate in gates}
    for run in (one, other):
        declared = {(gate.layer, gate.kind) for gate in run.manifest.gates}
        faults += [
            f"the {kind} gate of layer {layer} was not compared: only {run.path} has it"
            for layer, kind in sorted(declared - compared)
        ]
    for gate in gates:
        name = f"layer {gate.layer}, {gate.kind} gate"
        if gate.unlike:
            faults.append(f"{name}: {gate.unlike:,} values are not finite in one of the runs")
        elif gate.largest > tolerance:
            faults.append(f"{name}: {gate.largest:.2e} apart in sample {gate.sample_id}, clip {gate.clip}")
        if gate.unpaired:
            faults.append(f"{name}: {gate.unpaired:,} clips are only in one of the runs")
    return faults


def _prediction_faults(found: PredictionDifferences, tolerance: float) -> list[str]:
    faults: list[str] = []
    for names in (found.only_one, found.only_other):
        if names:
            faults.append(f"{len(names):,} queries are predicted by one run only: {_named(names)}")
    if found.misshapen:
        faults.append(
            f"{len(found.misshapen):,} queries have another number of windows or clips: "
            f"{_named(found.misshapen)}"
        )
    for name, worst, unit in (
        ("scores", found.scores, ""),
        ("windows", found.windows, " s"),
        ("saliency", found.saliency, ""),
    ):
        if worst.beyond:
            faults.append(
                f"{name}: {worst.beyond:,} values are too far apart, by up to {worst.largest:.2e}{unit} "
                f"in query {worst.qid}"
            )
    if tolerance and found.moved > found.most_moved:
        faults.append(
            f"windows: {found.moved:,} of {found.edges:,} starts and ends moved by a clip; at this "
            f"tolerance at most {found.most_moved:.0f} would"
        )
    return faults


def _stored(run: Run) -> str:
    names = [
        name
        for name, there in (
            ("gates", run.record.gates),
            ("predictions", run.record.predictions),
            ("gate statistics", run.record.summaries),
        )
        if there
    ]
    return f"{run.path} with {' and '.join(names) or 'nothing'}"


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED:,} more" if names[_NAMED:] else "")
