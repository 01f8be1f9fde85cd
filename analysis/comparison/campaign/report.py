"""``COMPARISON.md`` of a campaign: settings on the first screen, then every run, and how it was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from ....runtime.brief import counted
from ...report.markdown import number, plain, signed_number
from ...report.section import Section
from ...statistics.bootstrap import LEVEL
from .levels import HEADLINE, TOLD_STATISTIC
from .members import CampaignFolder
from .numbers import RunNumbers
from .settings import Setting, SettingGroup
from .tables import (
    LONGEST,
    REASON,
    gates_text,
    metric_name,
    options_text,
    other_metrics_text,
    runs_text,
    settings_text,
)
from .values import gate_of

FIGURE = "campaign.png"


def campaign_title(groups: Sequence[SettingGroup]) -> str:
    """``Campaign: 9 runs, 3 settings``."""
    runs, settings = sum(len(one.runs) for one in groups), sum(len(one.settings) for one in groups)
    told = f"Campaign: {counted(runs, 'run')}, {counted(settings, 'setting')}"
    return told + (f", {len(groups)} datasets" if len(groups) > 1 else "")


def campaign_sections(
    campaign: CampaignFolder,
    groups: Sequence[SettingGroup],
    levels: pl.DataFrame,
    numbers: Mapping[str, RunNumbers],
    figures: Mapping[str, bytes],
) -> list[Section]:
    """The report's sections: for each dataset the settings first, then gates and runs; failures; method."""
    several = len(groups) > 1
    sections: list[Section] = []
    for group in groups:
        own = levels.filter(dataset=group.name)
        where = f": {plain(group.name)}" if several else ""
        picture = {name: png for name, png in figures.items() if name == figure_name(groups, group)}
        sections.append(Section(f"Settings{where}", settings_text(group, own), picture))
        if len(group.settings) > 1:
            sections.append(Section(f"What differs between the settings{where}", options_text(group)))
        if (gates := gates_text(group, own)) is not None:
            sections.append(Section(f"Gates{where}", gates))
        if others := other_metrics_text(group, own):
            sections.append(Section(f"All metrics{where}", others))
        sections.append(Section(f"Every run{where}", runs_text(group, numbers)))
    if campaign.failed or campaign.same:
        sections.append(Section("Not compared", _left_out(campaign)))
    sections.append(Section("How this was measured", _method(groups, numbers)))
    return sections


def figure_name(groups: Sequence[SettingGroup], group: SettingGroup) -> str:
    """The file of a group's figure: numbered where there are several datasets."""
    return FIGURE if len(groups) == 1 else FIGURE.replace(".", f"_{groups.index(group) + 1}.")


def verdicts(groups: Sequence[SettingGroup], levels: pl.DataFrame) -> list[str]:
    """The first lines, Markdown: what each setting reaches, and whether it can be told from the first."""
    return [
        _verdict(group, setting, levels.filter(dataset=group.name))
        for group in groups
        for setting in group.settings
    ]


def _verdict(group: SettingGroup, setting: Setting, levels: pl.DataFrame) -> str:
    own = {row["quantity"]: row for row in levels.filter(setting=setting.name).iter_rows(named=True)}
    metrics = [name for name in HEADLINE if name in own]
    said: list[str] = []
    if metrics:
        row = own[metrics[0]]
        spread = "" if row["spread"] is None else f" ± {number(row['spread'], 2)}"
        said.append(f"{metric_name(metrics[0])} {number(row['value'], 2)}{spread}")
    seeds = max((row["seeds"] for row in own.values()), default=len(setting.repeats))
    said.append(_seeds(seeds))
    head = f"**{plain(setting.name, LONGEST)}**: {', '.join(said)}"
    if setting is group.settings[0] or not own:
        return head + "."
    first = plain(group.settings[0].name, LONGEST)
    compared = [own[name] for name in metrics if own[name]["difference"] is not None]
    gates = [
        row
        for name, row in own.items()
        if (gate := gate_of(name)) and gate[2] == TOLD_STATISTIC and row["difference"] is not None
    ]
    told = [
        _apart(rows, noun, digits)
        for rows, noun, digits in ((compared, "metrics", 2), (gates, "gates", 3))
        if rows
    ]
    if not told:
        return f"{head}; nothing in common with {first}."
    if all(row["difference_seeds"] < 2 for row in [*compared, *gates]):
        return f"{head}; with one seed it cannot be told from {first}."
    return f"{head}; against {first} {', '.join(told)}."


def _apart(rows: Sequence[dict[str, Any]], noun: str, digits: int) -> str:
    apart = sorted(
        (row for row in rows if row["told_apart"]), key=lambda row: abs(row["difference"]), reverse=True
    )
    if not apart:
        return f"no difference in {noun} can be told from chance"
    named = ", ".join(
        f"{_quantity(row['quantity'])} {signed_number(row['difference'], digits)}" for row in apart[:3]
    )
    return f"{len(apart)} of {len(rows)} {noun} differ ({named})"


def _quantity(name: str) -> str:
    gate = gate_of(name)
    return plain(metric_name(name)) if gate is None else f"{plain(gate[0])} gate of layer {gate[1]}"


def _seeds(count: int) -> str:
    return "1 seed, so seed variance is unknown" if count == 1 else f"{count} seeds"


def _left_out(campaign: CampaignFolder) -> str:
    lines = [f"- **{plain(name, 80)}** failed: {plain(why, REASON)}" for name, why in campaign.failed.items()]
    lines += [
        f"- {plain(name, 80)} holds the checkpoint of {plain(other, 80)}, which stands for both."
        for name, other in campaign.same.items()
    ]
    return "\n".join(lines)


def _method(groups: Sequence[SettingGroup], numbers: Mapping[str, RunNumbers]) -> str:
    sources = {one.source for one in numbers.values()}
    said = [
        "Runs that differ only in seed, paths and machine are repeats of one setting. A number is the mean "
        "over its repeats ± their standard deviation. The interval behind it carries seeds and videos "
        f"({LEVEL:.0%}): the part from seeds and the part from videos each have a factor of Student's t, "
        "since resampling three seeds gives intervals that are far too narrow.",
        "Differences are from the first setting, over the videos that all runs of both have, and paired by "
        "them. **Bold** ones exclude 0. Their intervals hold together over the metrics of the first table, "
        "and over the mean \\|g\\| of all gates: settings that differ in nothing but seeds are told apart "
        "in any metric in at most 5% of campaigns, and in any gate in at most 5%. Every further setting is a "
        "further comparison. With one seed nothing is told apart: how much seeds vary is then unknown.",
    ]
    if any(one.domains for one in groups):
        said.append("Of a dataset with domains the domain takes the place of the video.")
    if "training" in sources:
        said.append(
            "Where metrics are training's own (TVSum, or no ground truth at hand) nothing is known by video; "
            "top-5 mAP is `mAP` of training's metrics file, times 100."
        )
    return "\n\n".join(said)
