"""A campaign's folder in, one comparison of its settings out: Markdown, a page, JSON, tables and a figure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import polars as pl

from ....runtime.brief import brief
from ....runtime.errors import RunFolderError
from ....runtime.files import local
from ....runtime.runs.atomic import write_together
from ....runtime.runs.member import CAMPAIGN_FILE
from ...figures.campaign import campaign_figure
from ...figures.style import png
from ...report.again import again, short_path
from ...report.document import to_json
from ...report.html.shell import plain_page
from ...report.markdown import plain, without_folders
from ...report.section import Section
from ...report.steps import Progress
from .documents import campaign_document, cells_table, gates_table
from .levels import HEADLINE, TOLD_STATISTIC, repeat_means, setting_levels
from .members import CampaignFolder, open_campaign
from .numbers import RunNumbers, numbers_of
from .report import campaign_sections, campaign_title, figure_name, verdicts
from .settings import SettingGroup, groups_of
from .tables import CELLS, metric_name
from .values import gate_of

REPORT, PAGE = "COMPARISON.md", "campaign.html"
SETTINGS_TABLE, GATES_TABLE = "settings.csv", "gates.csv"


@dataclass(frozen=True)
class CampaignResult:
    """What a campaign shows and where it lies.

    - ``files``: everything written, COMPARISON.md first. ``document``: the content of ``campaign.json``.
    - ``title``; ``verdicts``: one line per setting, Markdown. ``warnings``: what to know before believing it.
    - ``failed``: by name, why a results folder or run is not in it.
    """

    output: Path
    files: tuple[Path, ...]
    document: dict[str, Any]
    title: str
    verdicts: tuple[str, ...]
    warnings: tuple[str, ...]
    failed: dict[str, str]

    @property
    def told(self) -> list[str]:
        """The title and one line per setting, for a terminal."""
        return [self.title, *(f"  {_as_text(line)}" for line in self.verdicts)]

    def __repr__(self) -> str:
        return brief(self)


def compare_campaign(
    folder: str | Path,
    *,
    annotations: str | Path | None = None,
    ignored: Collection[str] = (),
    progress: Progress | None = None,
) -> CampaignResult:
    """Compare the settings of the campaign ``folder``, and write what is found into it.

    - ``annotations``: the ground truth, in place of the annotations that were run.
    - ``ignored``: options of training that make no setting.
    - ``progress``: called with how many runs are read and how many there are.

    Raises :class:`~gatescope.runtime.errors.RunFolderError` where no run of it can be read.
    """
    place = local(folder)
    opened = open_campaign(place)
    done = 0

    def read() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, len(opened.runs))

    truth = None if annotations is None else local(annotations)
    numbers, unread = numbers_of(opened.runs, truth, each=read)
    runs = tuple(one for one in opened.runs if one.name in numbers)
    campaign = CampaignFolder(place, runs, {**opened.failed, **unread}, opened.same)
    if not runs:
        causes = "; ".join(f"{name}: {why.splitlines()[0]}" for name, why in campaign.failed.items())
        raise RunFolderError(f"no run of {place} can be compared", received=causes or "no finished run")
    groups = groups_of(runs, ignored)
    values = {name: one.values for name, one in numbers.items()}
    levels = pl.concat(setting_levels(group, values) for group in groups)
    repeats = pl.concat(repeat_means(group, values) for group in groups)
    warnings = tuple(campaign_warnings(campaign, groups, numbers))
    said = tuple(verdicts(groups, levels))
    figures = {
        name: drawn
        for group in groups
        for name in [figure_name(groups, group)]
        if (drawn := _figure(group, levels, repeats)) is not None
    }
    sections = campaign_sections(campaign, groups, levels, numbers, figures)
    sections += [_one_query(campaign), again(_words(place, truth, ignored))]
    document = campaign_document(campaign, groups, levels, repeats, numbers, warnings)
    first = "\n".join(f"- {line}" for line in said)
    title = campaign_title(groups)
    contents = {
        REPORT: _markdown(title, warnings, first, sections).encode(),
        PAGE: plain_page(title, f"{len(runs)} runs", first, sections, warnings).encode(),
        CAMPAIGN_FILE: to_json(document).encode(),
        CELLS: cells_table(groups, numbers).write_csv().encode(),
        GATES_TABLE: gates_table(groups, numbers).write_csv().encode(),
        SETTINGS_TABLE: levels.write_csv().encode(),
        **figures,
    }
    write_together(place, contents)
    files = tuple(place / name for name in contents)
    return CampaignResult(place, files, document, title, said, warnings, campaign.failed)


def campaign_warnings(
    campaign: CampaignFolder, groups: Sequence[SettingGroup], numbers: dict[str, RunNumbers]
) -> list[str]:
    """Sentences in plain text, the gravest first."""
    found: list[str] = []
    if campaign.failed:
        found.append(
            f"{len(campaign.failed)} of {len(campaign.failed) + len(campaign.runs)} results folders failed "
            f"and are not compared: {', '.join(campaign.failed)}."
        )
    if len(groups) > 1:
        names = ", ".join(one.name for one in groups)
        found.append(f"The runs are of several datasets ({names}): each stands by itself, none are averaged.")
    for group in groups:
        if group.missing:
            found.append(f"Missing: {'; '.join(group.missing)}.")
        one_seed = [one.name for one in group.settings if len(one.repeats) == 1]
        if one_seed and len(group.settings) > 1:
            found.append(
                f"One seed alone: {', '.join(one_seed)}. How much seeds vary is unknown there, and nothing "
                "is told apart from it."
            )
        found += group.notes
        sizes = {one.name: len(_qids(one.run)) for one in group.runs if not group.domains}
        if len(set(sizes.values())) > 1:
            least = min(sizes, key=lambda name: sizes[name])
            found.append(
                f"Runs have different numbers of queries ({least}: {sizes[least]}, others up to "
                f"{max(sizes.values())}): settings are compared over videos that all have."
            )
        found += [
            f"{one.name} is not finished: it counts as far as it goes."
            for one in group.runs
            if not one.run.finished
        ]
        found += [f"{one.name}: {doubt}" for one in group.runs for doubt in one.run.manifest.doubts]
    versions = {one.run.record.versions.get("gatescope", "unknown") for one in campaign.runs}
    if len(versions) > 1:
        found.append(f"The runs were made by several versions of gatescope: {', '.join(sorted(versions))}.")
    notes = dict.fromkeys(note for one in numbers.values() for note in one.notes)
    return [*found, *map(without_folders, notes)]


def _as_text(markdown: str) -> str:
    """A line of ours without the signs that Markdown needs."""
    return unescape(re.sub(r"\\(.)", r"\1", markdown.replace("**", "")))


def _qids(run: Any) -> list[str]:
    return run.samples.select("qid").collect()["qid"].to_list()


def _figure(group: SettingGroup, levels: pl.DataFrame, repeats: pl.DataFrame) -> bytes | None:
    own, seeds = levels.filter(dataset=group.name), repeats.filter(dataset=group.name)
    there = own["quantity"].unique(maintain_order=True).to_list()
    metrics = {name: metric_name(name) for name in HEADLINE if name in there}
    gates: dict[str, list[str]] = {}
    for name in there:
        if (gate := gate_of(name)) is not None and gate[2] == TOLD_STATISTIC:
            gates.setdefault(gate[0], []).append(name)
    return png(campaign_figure(own, seeds, metrics, gates)) if metrics or gates else None


def _markdown(title: str, warnings: Sequence[str], first: str, sections: Sequence[Section]) -> str:
    blocks = [f"# {title}"]
    if warnings:
        blocks.append(
            "\n".join(["> **Read this first**", ">", *(f"> - ⚠ {plain(one, 600)}" for one in warnings)])
        )
    blocks.append(first)
    for section in sections:
        blocks += [f"## {section.title}", section.text]
        blocks += [f"![{section.title}]({name})" for name in section.figures]
    return "\n\n".join(blocks) + "\n"


def _one_query(campaign: CampaignFolder) -> Section:
    word = shlex.join(["gatescope", "analyze", short_path(campaign.folder), "--sample", "ID"])
    return Section("One query in all runs", f"Its gates and results, run by run:\n\n    {word}")


def _words(folder: Path, annotations: Path | None, ignored: Collection[str]) -> list[str]:
    words = ["gatescope", "analyze", short_path(folder)]
    words += [] if annotations is None else ["--annotations", short_path(annotations)]
    return words + [word for name in ignored for word in ("--ignore", name)]
