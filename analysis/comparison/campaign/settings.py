"""Which runs are repeats of one setting: what training's options say, less what differs by nature.

A *setting* is all options of training but those that say where and when a run was made: seed, paths, names of
folders, the machine. Runs of one setting differ in seed alone. A dataset with domains, such as TVSum, has one
run per domain, and all runs of one seed together are one repeat.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import cast

from .members import CampaignRun

GATING = "gating"
_LACKS = "–"
# Where, when and on what a run was made, and what decides only how it was evaluated.
_BY_NATURE = frozenset(
    {
        "seed",
        "dset_domain",
        "exp_id",
        "device",
        "results_root",
        "results_dir",
        "resume",
        "resume_all",
        "start_epoch",
        "num_workers",
        "pin_memory",
        "no_pin_memory",
        "debug",
        "eval_path",
        "eval_split_name",
        "eval_bsz",
        "eval_results_dir",
        "model_dir",
        "eval_id",
        "tensorboard_log_dir",
    }
)
_BY_NATURE_ENDINGS = ("_filepath", "_filename", "_log_dir", "_time", "_date", "_timestamp")


@dataclass(frozen=True)
class Repeat:
    """The runs of one setting with one seed: one run, or one per domain. ``seed``: None where unknown."""

    seed: int | None
    runs: tuple[CampaignRun, ...]

    @property
    def name(self) -> str:
        """The seed as text; of an unknown one the run's name."""
        return self.runs[0].name if self.seed is None else str(self.seed)


@dataclass(frozen=True)
class Setting:
    """Runs that were trained alike. ``options``: what tells it from the group's other settings."""

    name: str
    options: dict[str, str]
    repeats: tuple[Repeat, ...]


@dataclass(frozen=True)
class SettingGroup:
    """The runs of one dataset, evaluated on the same annotations: they alone are set against each other.

    - ``differs``: the options in which settings differ; those that differ together stand one after the other.
    - ``domains``: all domains there are, sorted; empty for a dataset without. ``missing``: cells that other
      settings or domains have, in words. ``notes``: what was assumed, in plain text.
    """

    name: str
    settings: tuple[Setting, ...]
    differs: tuple[str, ...]
    domains: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def runs(self) -> list[CampaignRun]:
        """All runs of the group."""
        return [run for one in self.settings for repeat in one.repeats for run in repeat.runs]


def groups_of(runs: Sequence[CampaignRun], ignored: Collection[str] = ()) -> tuple[SettingGroup, ...]:
    """The groups of ``runs``, and in each its settings, in the order in which runs come.

    ``ignored``: more options that make no setting.
    """
    by_data: dict[tuple[str, str], list[CampaignRun]] = {}
    for run in runs:
        by_data.setdefault((run.dataset, run.run.record.annotations.sha256), []).append(run)
    names = [dataset for dataset, _ in by_data]
    return tuple(
        _group(
            dataset if names.count(dataset) == 1 else f"{dataset}, {own[0].annotations.name}", own, ignored
        )
        for (dataset, _), own in by_data.items()
    )


def _group(name: str, runs: Sequence[CampaignRun], ignored: Collection[str]) -> SettingGroup:
    told = [told_options(run, ignored) for run in runs]
    keys = dict.fromkeys(key for one in told for key in one)
    columns = {key: tuple(one.get(key, _LACKS) for one in told) for key in keys}
    # The manifest's gating is training's gating_type again, in most files.
    distinct = {values: key for key, values in reversed(columns.items()) if len(set(values)) > 1}
    differs = [key for key, values in columns.items() if distinct.get(values) == key]
    naming = _naming({key: columns[key] for key in differs})
    by_setting: dict[tuple[str, ...], list[CampaignRun]] = {}
    options: dict[tuple[str, ...], dict[str, str]] = {}
    for place, run in enumerate(runs):
        key = tuple(columns[one][place] for one in differs)
        by_setting.setdefault(key, []).append(run)
        options[key] = {one: columns[one][place] for one in differs}
    notes: list[str] = []
    settings: list[Setting] = []
    for key, own in by_setting.items():
        called = _called(options[key], naming) or own[0].run.manifest.gating
        settings.append(Setting(called, options[key], _repeats(called, own, notes)))
    domains = tuple(sorted({run.domain for run in runs if run.domain is not None}))
    missing = tuple(_missing(settings, domains))
    return SettingGroup(name, tuple(settings), tuple(differs), domains, missing, tuple(notes))


def told_options(run: CampaignRun, ignored: Collection[str] = ()) -> dict[str, str]:
    """What makes the setting of ``run``: its gating and every option that does not differ by nature.

    Of a path only the last part counts: the same data lie elsewhere on another machine.
    """
    manifest = run.run.manifest
    told = {GATING: manifest.gating, "family": manifest.family, "batching of the export": manifest.batching}
    for name, value in run.training.opt.items():
        by_nature = name in _BY_NATURE or name.endswith(_BY_NATURE_ENDINGS)
        if not by_nature and name not in told:
            told[name] = _without_place(value)
    return {name: value for name, value in told.items() if name not in ignored}


def _without_place(value: str) -> str:
    """An option's value as text, its paths by their last parts."""
    if value.startswith("["):
        try:
            parsed: object = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            parsed = None
        if isinstance(parsed, list):
            return ", ".join(_without_place(str(one)) for one in cast(list[object], parsed))
    text = value.replace("\\", "/")
    return PurePosixPath(text).name if "/" in text else value


def _naming(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """The options that name settings: of several that split the runs alike, the first."""
    named: dict[tuple[int, ...], str] = {}
    for key, values in columns.items():
        first = {value: place for place, value in reversed([*enumerate(values)])}
        named.setdefault(tuple(first[value] for value in values), key)
    return list(named.values())


def _called(options: Mapping[str, str], naming: Sequence[str]) -> str:
    return ", ".join(options[key] if key == GATING else f"{key} {options[key]}" for key in naming)


def _repeats(setting: str, runs: Sequence[CampaignRun], notes: list[str]) -> tuple[Repeat, ...]:
    by_seed: dict[object, list[CampaignRun]] = {}
    for run in runs:
        seed = run.training.seed
        # Of an unknown seed nothing says that two runs share it; TVSum's domains of one setting would.
        by_seed.setdefault((None, run.name) if seed is None else seed, []).append(run)
    repeats = [Repeat(own[0].training.seed, tuple(own)) for own in by_seed.values()]
    unknown = [repeat.name for repeat in repeats if repeat.seed is None]
    if unknown:
        notes.append(f"{setting}: the seed of {_listed(unknown)} is not recorded; each counts as its own.")
    for repeat in repeats:
        cells = [run.domain for run in repeat.runs]
        if again := sorted({str(cell) for cell in cells if cells.count(cell) > 1}):
            which = "" if again == ["None"] else f" ({_listed(again)})"
            notes.append(
                f"{setting}: seed {repeat.name} was trained more than once{which}; these runs are averaged "
                "and count as one seed, since the same seed says little of how seeds differ."
            )
    known = sorted((one for one in repeats if one.seed is not None), key=lambda one: one.seed or 0)
    return (*known, *(one for one in repeats if one.seed is None))


def _missing(settings: Sequence[Setting], domains: Sequence[str]) -> list[str]:
    """Cells that are not there although others suggest them, in words.

    A seed is expected where another setting has it that shares a seed: settings with seeds of their own have
    nothing to be missed. A domain is expected of every repeat.
    """
    seeds = [{one.seed for one in setting.repeats if one.seed is not None} for setting in settings]
    found: list[str] = []
    for setting, own in zip(settings, seeds, strict=True):
        expected = set[int]().union(*(others for others in seeds if others & own))
        found += [f"{setting.name}, seed {seed}" for seed in sorted(expected - own)]
        for repeat in setting.repeats:
            there = {run.domain for run in repeat.runs}
            lacking = [domain for domain in domains if domain not in there]
            if lacking:
                found.append(f"{setting.name}, seed {repeat.name}: {_listed(lacking)}")
    return found


def _listed(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
