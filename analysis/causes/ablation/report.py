"""``ABLATION.md``: in words whether audio and gates matter, then every effect with its intervals."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ....runtime.brief import counted
from ....runtime.gates.manifest import Manifest
from ...evaluation.evaluate import Evaluation
from ...evaluation.metrics import short_metric
from ...report.markdown import estimate, number, plain, shared_name, table
from ...statistics.bootstrap import FEW_VIDEOS
from .effects import Effects
from .interventions import ablatable_kinds
from .plan import AblationPlan
from .verdicts import audio_verdict, chance_note, gate_verdict, row_verdict, subset_verdict

ABLATION_FIGURE = "ablation.png"
_TREATMENTS = {
    "shut": "Shut",
    "mean": "Set to the mean",
    "shuffled": "Taken from another video",
}


def ablation_report(plan: AblationPlan, effects: Effects, warnings: Sequence[str]) -> str:
    """The whole report, Markdown."""
    blocks = ["# What audio and gates cause"]
    if warnings:
        lines = ["> **Read this first**", ">", *(f"> - ⚠ {plain(one, 600)}" for one in warnings)]
        blocks.append("\n".join(lines))
    blocks += [
        f"- {audio_verdict(effects)}\n- {gate_verdict(effects)}",
        chance_note(effects),
        f"![Effects of all interventions]({ABLATION_FIGURE})",
        "## The audio",
        "Changes in points of percent, in brackets the interval that holds together with all others of this "
        "table.",
        _table(effects.overall.filter(what="audio"), effects.metrics, "title"),
        "## The gates",
        "The gates of one layer, of one kind in all layers, and all of them. Intervals hold together over "
        "all three tables.",
    ]
    gates = effects.overall.filter(what="gates")
    for treatment, title in _TREATMENTS.items():
        rows = gates.filter(treatment=treatment)
        if not rows.is_empty():
            blocks += [f"### {title}", _table(rows, effects.metrics, "target")]
    for name in effects.subsets["subset"].unique(maintain_order=True):
        blocks += _subset(effects, name)
    blocks += ["## How this was measured", _method(plan, effects)]
    return "\n\n".join(blocks) + "\n"


def ablation_warnings(plan: AblationPlan, effects: Effects, unchanged: Evaluation) -> list[str]:
    """Sentences in plain text, the gravest first; those of the manifest last."""
    manifest = plan.run.manifest
    found: list[str] = []
    if effects.videos < 2:
        found.append(
            "There is one video only: nothing can be exchanged between videos, and no effect has an interval."
        )
    elif effects.videos < FEW_VIDEOS:
        found.append(
            f"There are only {effects.videos} videos. Intervals of fewer than {FEW_VIDEOS} come out too "
            "narrow, so no effect is called one."
        )
    if plan.run.skipped:
        found.append(f"{counted(len(plan.run.skipped), 'sample')} left out because of unusable features.")
    if untouched := _untouched(manifest):
        found.append(
            f"The export has no overrides of the {' and '.join(untouched)} gates: they stay as they are."
        )
    if manifest.batching == "reference":
        found.append(
            "In reference batching a sample's numbers depend on its batch: the batches are the same for all "
            "interventions, but other batches would give somewhat other effects."
        )
    return [*found, *unchanged.notes, *manifest.doubts, *manifest.warnings]


def _untouched(manifest: Manifest) -> list[str]:
    return [kind for kind in manifest.gate_kinds if kind not in ablatable_kinds(manifest)]


def _table(rows: pl.DataFrame, metrics: Sequence[str], head: str) -> str:
    if rows.is_empty():
        return "Nothing was changed."
    cells: list[list[str]] = []
    first = rows["intervention"][0]
    unchanged = rows.filter(intervention=first)
    cells.append(["*unchanged model*", *(number(value, 2) for value in unchanged["before"]), ""])
    for (_,), own in rows.group_by("intervention", maintain_order=True):
        changes = [
            estimate(
                row["effect"], row["family_low"], row["family_high"], 2, sign=True, bold=row["told_apart"]
            )
            for row in own.iter_rows(named=True)
        ]
        cells.append([plain(own[head][0]), *changes, plain(row_verdict(own), 400)])
    return table(["", *(short_metric(metric) for metric in metrics), "in words"], cells)


def _subset(effects: Effects, name: str) -> list[str]:
    rows = effects.subsets.filter(subset=name)
    counts = rows.row(0, named=True)
    blocks = [
        f"## Subset {plain(name)}",
        f"{counts['inside_queries']:,} queries in it, {counts['rest_queries']:,} in the rest. "
        + subset_verdict(rows.filter(what="audio"), name),
    ]
    heads = ["", "metric", "in it", "in the rest", "difference"]
    shown = rows.filter(pl.col("metric").is_in(list(effects.metrics[:3])))
    shown = shown.filter((pl.col("what") == "audio") | pl.col("layer").is_null())
    cells = [
        [
            plain(row["title"]),
            short_metric(row["metric"]),
            estimate(row["inside"], row["inside_low"], row["inside_high"], 2, sign=True),
            estimate(row["rest"], row["rest_low"], row["rest_high"], 2, sign=True),
            estimate(
                row["effect"], row["family_low"], row["family_high"], 2, sign=True, bold=row["told_apart"]
            ),
        ]
        for row in shown.iter_rows(named=True)
    ]
    note = (
        "Effects in points of percent. The intervals of *in it* and *in the rest* are those of single "
        "effects; the difference's holds together with those of the other interventions and metrics. Single "
        "layers and the other metrics are in `ablation.json`."
    )
    return [*blocks, table(heads, cells, text_columns=2), note]


def _method(plan: AblationPlan, effects: Effects) -> str:
    run, bootstrap = plan.run, effects.bootstrap
    lines = [
        f"{counted(effects.queries, 'query')} of "
        f"{counted(effects.videos, 'video')}, {plain(shared_name(run.annotations.path))}, with "
        f"{plain(shared_name(run.model.path))} "
        f"(SHA-256 {plain(run.model.sha256[:12])}…) on {plain(run.device)}.",
        f"{_shut(run.manifest)} *Mean*: the gate's mean over all valid "
        "clips of the dataset, per layer and kind, for elementwise gates per channel; what is lost is what "
        "the gate does differently from clip to clip. *Of another video*: every video gets the gates or the "
        f"audio of one other video (a fixed random order, seed {plan.donor_seed}), cropped or repeated to "
        "its own length; what is lost is that they belong to it. Replaced gates are those of the unchanged "
        "model.",
        "*Audio set to 0*: the audio's normalised features; its temporal endpoints stay, as the model needs "
        "them to tell where a clip is.",
        f"Intervals: the video is drawn with all its queries ({bootstrap.resamples:,} resamples, the same "
        f"ones for all effects, level {bootstrap.level:.0%}). Those that hold together are widened by the "
        "bootstrap of the largest deviation (Romano and Wolf, 2005): one family for the audio, the first "
        "question, and one for the gates, each over all its interventions and metrics. Where nothing has an "
        f"effect, a false alarm in a family has a probability of about {1 - bootstrap.level:.0%}.",
        _batching(plan),
        "A gate that is set to a value it never had may lead later layers where training never led them: an "
        "effect says that the model as trained relies on the gate, not that a model trained without it "
        "would be worse.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _shut(manifest: Manifest) -> str:
    kinds = ablatable_kinds(manifest)
    film = [kind for kind in kinds if manifest.acts_as(kind) == "1+g"]
    if not film:
        return "*Shut*: the gate is set to 0, so that its branch adds nothing."
    of_film = f"the {' and the '.join(map(plain, film))} gate, which multiplies by 1 + g (FiLM),"
    others = "" if len(film) == len(kinds) else "the others are set to 0, "
    return (
        f"*Shut*: the branch is multiplied by 0: {others}{of_film} is set to −1. What FiLM adds next to its "
        "branch, the shift, stays. At 0 that gate would leave its branch at full strength."
    )


def _batching(plan: AblationPlan) -> str:
    size = plan.run.batch_size
    if plan.run.manifest.batching == "reference":
        return (
            "The model reproduces the training code's batched numbers: every intervention ran on the same "
            f"batches of {size} in file order, and the gates of another video are those it has in a batch "
            "of such videos."
        )
    return "What a sample is batched with does not matter (exact batching)."
