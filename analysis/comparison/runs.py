"""Runs set side by side: what each is called, how they were made, and what to know before believing it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from ...runtime.errors import UsageError
from ...runtime.files import local
from ...runtime.runs.reader import Run
from ..evaluation.evaluate import Evaluation
from ..statistics.bootstrap import FEW_VIDEOS

_LONGEST = 60
# What a folder's name may hold on any system; the rest becomes a dash.
_UNSAFE = re.compile(r"[^\w.+-]+")
# What `gatescope report` and the README call every run: it says nothing.
_USUAL = "run"


def run_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of each path that differ, as many as it takes to tell all apart; numbered where none do.

    ``a/seed1/run`` and ``a/seed2/run`` are ``seed1`` and ``seed2``; ``report/run`` next to ``old`` is
    ``report``. The working folder's own name says nothing of a run in it and is never used. Names differ in
    more than the case of their letters, begin with no dot, and are no longer than 60 characters.
    """
    tails = _tails([path.resolve() for path in paths])
    for depth in range(1, max(map(len, tails)) + 1):
        taken = [[tail[place] for tail in tails if place < len(tail)] for place in range(depth)]
        telling = [place for place, parts in enumerate(taken) if len({*parts}) > 1 or len(parts) < len(tails)]
        names = [
            _safe("-".join(tail[place] for place in telling[::-1] if place < len(tail))) for tail in tails
        ]
        if len({name.lower() for name in names}) == len(names):
            return names
    return [f"{number}-{_safe(path.resolve().name)}" for number, path in enumerate(paths, start=1)]


def chosen_names(paths: Sequence[Path], given: Sequence[str | None]) -> list[str]:
    """The names ``given``, and for None that of :func:`run_names`.

    Raises :class:`~gatescope.runtime.errors.UsageError` for one that cannot name a folder, or two that are
    alike.
    """
    names = [found if own is None else own for own, found in zip(given, run_names(paths), strict=True)]
    for name in given:
        if name is not None and _safe(name) != name:
            raise UsageError(
                "this cannot be the name of a run: a folder is called by it",
                received=name,
                expected=f"at most {_LONGEST} letters, digits and . _ + -, the first no dot",
            )
    lowered = [name.lower() for name in names]
    if alike := [name for name in names if lowered.count(name.lower()) > 1]:
        raise UsageError("runs have the same name", received=", ".join(alike), expected="different names")
    return names


def named_run(text: str) -> tuple[str | None, Path]:
    """``NAME=RUN`` as the name and the folder; without a name where a folder is called like the whole."""
    name, sign, path = text.partition("=")
    if not sign or local(text).exists():
        return None, local(text)
    return name, local(path)


def _tails(paths: Sequence[Path]) -> list[tuple[str, ...]]:
    """The parts of each path that may tell it from others, the last one first."""
    roots = Path.cwd().resolve(), Path(os.path.commonpath(paths))
    parts = [
        next((path.relative_to(root).parts for root in roots if path.is_relative_to(root)), path.parts)
        or (path.name,)
        for path in paths
    ]
    usual = [path.name == _USUAL and len(own) > 1 for path, own in zip(paths, parts, strict=True)]
    # The folder around a run stands for it only where no other run is in there.
    alone = not any(
        path.name == _USUAL and other != path and other.is_relative_to(path.parent)
        for path in paths
        for other in paths
    )
    return [(own[:-1] if drop and alone else own)[::-1] for own, drop in zip(parts, usual, strict=True)]


def _safe(text: str) -> str:
    return _UNSAFE.sub("-", text).strip(".-")[-_LONGEST:].lstrip(".-") or _USUAL


def run_settings(run: Run) -> dict[str, str]:
    """Everything about model, data and machine that could make its numbers differ from another run's."""
    record, manifest = run.record, run.manifest
    ranges = [
        f"{kind} {low:g} to {high:g}"
        for kind in manifest.gate_kinds
        for low, high in [manifest.gate_range(kind)]
    ]
    return {
        "model (SHA-256)": record.model.sha256,
        "checkpoint (SHA-256)": manifest.checkpoint_sha256,
        "annotations (SHA-256)": record.annotations.sha256,
        "family": manifest.family,
        "gating": manifest.gating,
        "layers": str(manifest.layers),
        "range of gates": ", ".join(ranges) or "no gates",
        "what multiplies a branch": ", ".join(
            f"{kind} {manifest.acts_as(kind)}{' (assumed)' if kind in manifest.doubtful_kinds else ''}"
            for kind in manifest.gate_kinds
        )
        or "no gates",
        "format": manifest.format,
        "precision": manifest.precision,
        "batching": manifest.batching,
        "rewrites": ", ".join(manifest.rewrites) or "none",
        "batch size": str(record.batch_size),
        "device": record.device,
        **{f"version of {name}": number for name, number in record.versions.items()},
    }


def differing_settings(runs: Sequence[Run]) -> list[tuple[str, tuple[str, ...]]]:
    """What is not the same in all runs, with each run's own; a dash where it has none."""
    told = [run_settings(run) for run in runs]
    names = dict.fromkeys(name for one in told for name in one)
    rows = [(name, tuple(one.get(name, "–") for one in told)) for name in names]
    return [row for row in rows if len(set(row[1])) > 1]


def comparison_warnings(
    names: Sequence[str], runs: Sequence[Run], gates: pl.DataFrame, evaluations: Mapping[str, Evaluation]
) -> list[str]:
    """Sentences in plain text, the gravest first. ``gates`` is that of ``compare_gates``."""
    found = [
        f"{name} is not finished: it is compared as far as it goes."
        for name, run in zip(names, runs, strict=True)
        if not run.finished
    ]
    first = names[0]
    for name, own in gates.filter(pl.col("run") != first).group_by("run", maintain_order=True):
        shared = own["shared_videos"].max()
        if shared is None:
            found.append(
                f"{name[0]} and {first} have no video, or no gate, in common: no differences can be measured."
            )
        elif int(shared) < FEW_VIDEOS:  # type: ignore[arg-type]
            found.append(
                f"{name[0]} and {first} have only {shared} videos in common. Intervals of fewer than "
                f"{FEW_VIDEOS} come out too narrow, so no difference is called one."
            )
    found += _unlike(
        names, "the gating", [run.manifest.gating for run in runs], "a gate of one is not the gate of another"
    )
    layers = [str(run.manifest.layers) for run in runs]
    found += _unlike(names, "the number of layers", layers, "layer 0 is compared with layer 0, and so on")
    ranges = [
        ", ".join(
            f"{low:g} to {high:g}" for low, high in map(run.manifest.gate_range, run.manifest.gate_kinds)
        )
        for run in runs
    ]
    found += _unlike(names, "the range of their gates", ranges, "the same value does not mean the same")
    found += _unlike(
        names,
        "what multiplies a gate's branch",
        [
            ", ".join(f"{kind} {run.manifest.acts_as(kind)}" for kind in run.manifest.gate_kinds)
            for run in runs
        ],
        "where it is 1 + g (FiLM) a gate at 0 leaves its branch as it is, where it is g it leaves it out",
    )
    for name, run in zip(names, runs, strict=True):
        found += [f"{name}: {doubt}" for doubt in run.manifest.doubts]
    sizes = [str(run.samples.select(pl.col("qid").n_unique()).collect().item()) for run in runs]
    found += _unlike(
        names, "the number of queries", sizes, "levels are over each run's own, differences over shared ones"
    )
    without = [name for name in names if name not in evaluations]
    if evaluations and without:
        found.append(f"There are no metrics of {', '.join(without)}: no predictions were stored.")
    found += [f"{name}: {note}" for name, one in evaluations.items() for note in one.notes]
    return found


def _unlike(names: Sequence[str], what: str, told: Sequence[str], consequence: str) -> list[str]:
    if len(set(told)) < 2:
        return []
    each = "; ".join(f"{name}: {value}" for name, value in zip(names, told, strict=True))
    return [f"The runs differ in {what} ({each}): {consequence}."]
