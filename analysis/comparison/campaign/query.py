"""One query in all runs of a campaign: its gates and results, setting by setting and seed by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ....runtime.brief import counted
from ....runtime.errors import GatescopeError, UsageError
from ....runtime.files import local
from ....runtime.runs.atomic import write_together
from ....runtime.tracking.ids import file_names
from ...evaluation.evaluate import evaluate
from ...evaluation.ground_truth import GroundTruth, read_ground_truth
from ...figures.query_runs import query_figure
from ...figures.style import png
from ...report.markdown import number, plain, table
from .members import CampaignRun, open_campaign
from .settings import SettingGroup, groups_of

#: Where pictures and tables of single queries lie in a campaign's folder.
QUERIES = "queries"
_LONGEST = 60


@dataclass(frozen=True)
class _Seen:
    """A query in one run. ``gates``: by kind, (layers, clips) float32. ``results``: AP, IoU, first window."""

    group: SettingGroup
    setting: str
    seed: str
    run: CampaignRun
    qid: str
    duration: float
    gates: dict[str, np.ndarray[Any, np.dtype[np.float32]]]
    results: dict[str, Any]


def compare_queries(
    folder: str | Path,
    ids: Sequence[str],
    output: str | Path | None = None,
    *,
    annotations: str | Path | None = None,
) -> tuple[Path, ...]:
    """Write, for each of ``ids`` (a qid, or a sample_id), a page of Markdown, a figure and a CSV; gives them.

    They go into ``output``, by default ``queries/`` in the campaign. Runs that lack a query are left out, as
    those of TVSum's other domains; :class:`~gatescope.runtime.errors.UsageError` where all do.
    """
    place = local(folder)
    campaign = open_campaign(place)
    groups = groups_of(campaign.runs)
    truth = None if annotations is None else local(annotations)
    names = file_names(ids)
    contents: dict[str, bytes] = {}
    truths: dict[Path, GroundTruth | None] = {}
    for one in dict.fromkeys(ids):
        seen = _seen(groups, one, truth, truths)
        if not seen:
            raise UsageError(
                f"no run of {place} has the sample '{one[:80]}'",
                expected=f"a qid of one of its runs, such as {_example(campaign.runs)}",
            )
        picture, cells = f"{names[one]}.png", f"{names[one]}.csv"
        contents[f"{names[one]}.md"] = _page(one, seen, len(campaign.runs), picture, cells).encode()
        contents[picture] = png(_figure(one, seen, truths))
        contents[cells] = _cells(seen).write_csv().encode()
    into = place / QUERIES if output is None else local(output)
    write_together(into, contents)
    return tuple(into / name for name in contents)


def _seen(
    groups: Sequence[SettingGroup], one: str, annotations: Path | None, truths: dict[Path, GroundTruth | None]
) -> list[_Seen]:
    found: list[_Seen] = []
    for group in groups:
        for setting in group.settings:
            for repeat in setting.repeats:
                for run in repeat.runs:
                    rows = run.run.samples.filter((pl.col("qid") == one) | (pl.col("sample_id") == one))
                    row = next(rows.collect().iter_rows(named=True), None)
                    if row is None:
                        continue
                    path = annotations or run.annotations
                    if path not in truths:
                        truths[path] = _truth(path)
                    gates = {
                        kind: run.run.tensor(row["sample_id"], kind).mean(axis=2)
                        for kind in run.run.manifest.tracked_kinds
                    }
                    results = _results(run, row["qid"], truths[path])
                    duration = float(row["duration"] or row["clips"])
                    found.append(
                        _Seen(group, setting.name, repeat.name, run, row["qid"], duration, gates, results)
                    )
    return found


def _truth(path: Path) -> GroundTruth | None:
    try:
        return read_ground_truth(path)
    except GatescopeError:
        return None


def _results(run: CampaignRun, qid: str, truth: GroundTruth | None) -> dict[str, Any]:
    """AP and IoU, where the right answer is known, and the window listed first."""
    own = next((line for line in run.run.predictions() if str(line.get("qid")) == qid), None)
    if own is None:
        return {}
    windows = own.get("pred_relevant_windows") or [[None, None, None]]
    found: dict[str, Any] = dict(zip(("start", "end", "score"), windows[0], strict=False))
    if truth is not None and qid in truth.qids:
        row = evaluate([own], truth, allow_missing=True).per_query.row(0, named=True)
        found |= {name: row[name] for name in ("ap", "iou") if name in row}
    return found


def _cells(seen: Sequence[_Seen]) -> pl.DataFrame:
    """One row per run, kind of gate and layer."""
    rows: list[dict[str, Any]] = []
    for one in seen:
        key = {
            "dataset": one.group.name,
            "setting": one.setting,
            "seed": one.seed,
            "run": one.run.name,
            "qid": one.qid,
        }
        results = {name: one.results.get(name) for name in ("ap", "iou", "start", "end", "score")}
        for kind, values in one.gates.items():
            for layer, own in enumerate(values):
                level = {"mean": float(own.mean()), "mean_abs": float(np.abs(own).mean())}
                rows.append({**key, **results, "gate": kind, "layer": layer, **level})
        if not one.gates:
            rows.append({**key, **results, "gate": None, "layer": None, "mean": None, "mean_abs": None})
    return pl.DataFrame(rows, infer_schema_length=None)


def _page(one: str, seen: Sequence[_Seen], runs: int, picture: str, cells: str) -> str:
    kinds = list(dict.fromkeys(kind for own in seen for kind in own.gates))
    rows = [
        [
            plain(own.setting, _LONGEST),
            plain(own.seed),
            plain(own.run.name, _LONGEST),
            _percent(own.results.get("ap")),
            number(own.results.get("iou"), 2),
            _window(own.results),
            *(number(_level(own, kind)) for kind in kinds),
        ]
        for own in seen
    ]
    heads = ["setting", "seed", "run", "AP", "IoU", "first window"]
    heads += [f"{plain(kind)} mean \\|g\\|" for kind in kinds]
    left = runs - len(seen)
    lacking = f" {counted(left, 'run')} without it are left out." if left else ""
    return (
        f"# Query {plain(one)} in {counted(len(seen), 'run')}\n\n"
        f"AP in percent, windows in seconds, gates as means over layers and clips.{lacking}\n\n"
        f"{table(heads, rows, text_columns=3)}\n\n![Gates over time]({picture})\n\n"
        f"Layer by layer: [{cells}]({cells}).\n"
    )


def _level(own: _Seen, kind: str) -> float | None:
    return float(np.abs(own.gates[kind]).mean()) if kind in own.gates else None


def _percent(share: float | None) -> str:
    return number(None if share is None else 100 * share, 1)


def _window(results: dict[str, Any]) -> str:
    if results.get("start") is None:
        return "–"
    return f"{results['start']:g}–{results['end']:g} s ({results['score']:.2f})"


def _figure(one: str, seen: Sequence[_Seen], truths: dict[Path, GroundTruth | None]) -> Any:
    kinds = list(dict.fromkeys(kind for own in seen for kind in own.gates))
    courses = [
        (own.setting, kind, own.gates[kind].mean(axis=0))
        for own in seen
        for kind in kinds
        if kind in own.gates
    ]
    windows: list[tuple[float, float]] = []
    for truth in truths.values():
        if truth is not None and seen[0].qid in truth.qids:
            at = truth.qids.index(seen[0].qid)
            windows = [(float(a), float(b)) for a, b in truth.windows[at, : truth.counts[at]]]
            break
    return query_figure(courses, kinds, seen[0].duration, windows, one)


def _example(runs: Sequence[CampaignRun]) -> str:
    return ", ".join(str(qid) for qid in runs[0].run.samples.select("qid").head(3).collect()["qid"])
