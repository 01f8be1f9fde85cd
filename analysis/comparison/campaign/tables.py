"""The tables of a campaign's report: settings, their differences, gates, and every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from ...evaluation.metrics import short_metric
from ...report.markdown import estimate, number, percent, plain, table
from .levels import HEADLINE, TOLD_STATISTIC
from .numbers import RunNumbers
from .settings import Setting, SettingGroup
from .values import TOP5, gate_of

CELLS = "cells.csv"
#: Letters of a setting's name that are shown, and of a longer text.
LONGEST, REASON = 60, 300
#: Domains of TVSum, over which its published numbers are averaged.
_PUBLISHED_DOMAINS = 10
_STATISTICS = {
    "mean_abs": "mean \\|g\\|",
    "mean": "mean",
    "share_saturated": "saturated",
    "share_near_zero": "near 0",
}


def metric_name(metric: str) -> str:
    """A metric as a reader calls it."""
    return "top-5 mAP" if metric == TOP5 else short_metric(metric)


def settings_text(group: SettingGroup, levels: pl.DataFrame) -> str:
    """What every setting reaches, and how it differs from the first."""
    metrics = [name for name in HEADLINE if name in levels["quantity"]]
    blocks: list[str] = []
    if group.domains:
        blocks.append(_about_domains(group))
    heads = [metric_name(one) for one in metrics]
    blocks.append(_table(group.settings, levels, metrics, heads))
    if len(group.settings) > 1 and metrics:
        blocks.append(f"Differences from {plain(group.settings[0].name, LONGEST)}, in points:")
        blocks.append(_differences(group.settings[1:], levels, metrics, heads))
    if group.missing:
        blocks.append("Missing: " + "; ".join(plain(one, REASON) for one in group.missing) + ".")
    return "\n\n".join(blocks)


def _about_domains(group: SettingGroup) -> str:
    few = len(group.domains) < _PUBLISHED_DOMAINS
    missing = f" Published numbers are over {_PUBLISHED_DOMAINS}." if few else ""
    return (
        f"Each domain has its own model. A repeat is one seed in all {len(group.domains)} domains "
        f"({', '.join(map(plain, group.domains))}), its number is the mean over domains, each counting once, "
        f"as published.{missing}"
    )


def _table(
    settings: Sequence[Setting], levels: pl.DataFrame, quantities: Sequence[str], heads: Sequence[str]
) -> str:
    rows: list[list[str]] = []
    for setting in settings:
        own = _rows(levels, setting)
        seeds = plain(", ".join(repeat.name for repeat in setting.repeats))
        used = max((row["seeds"] for row in own.values()), default=0)
        told = f"{used} ({seeds})" if used == len(setting.repeats) else f"{used} of {seeds}"
        told += ", seed variance unknown" if used == 1 else ""
        name = f"**{plain(setting.name, LONGEST)}**"
        rows.append([name, told, *(_level(own.get(quantity), 2) for quantity in quantities)])
    return table(["setting", "seeds", *map(plain, heads)], rows, text_columns=2)


def _differences(
    settings: Sequence[Setting], levels: pl.DataFrame, quantities: Sequence[str], heads: Sequence[str]
) -> str:
    rows = [
        [plain(setting.name, LONGEST), *(_difference(own.get(quantity), 2) for quantity in quantities)]
        for setting in settings
        for own in [_rows(levels, setting)]
    ]
    return table(["setting", *map(plain, heads)], rows)


def _rows(levels: pl.DataFrame, setting: Setting) -> dict[str, dict[str, Any]]:
    return {row["quantity"]: row for row in levels.filter(setting=setting.name).iter_rows(named=True)}


def _level(row: Mapping[str, Any] | None, digits: int) -> str:
    """Mean ± sd and the interval."""
    if row is None:
        return "–"
    value = number(row["value"], digits)
    spread = "" if row["spread"] is None else f" ± {number(row['spread'], digits)}"
    return f"{value}{spread}{estimate(row['value'], row['low'], row['high'], digits)[len(value) :]}"


def _share(row: Mapping[str, Any] | None, _: int) -> str:
    """A share of one in percent; its interval is in the table for machines."""
    if row is None:
        return "–"
    spread = "" if row["spread"] is None else f" ± {100 * row['spread']:.1f}"
    return f"{percent(row['value'])}{spread}"


def _difference(row: Mapping[str, Any] | None, digits: int) -> str:
    if row is None or row["difference"] is None:
        return "–"
    low, high = row["difference_low"], row["difference_high"]
    return estimate(row["difference"], low, high, digits, sign=True, bold=row["told_apart"])


def options_text(group: SettingGroup) -> str:
    """The options in which settings differ."""
    if not group.differs:
        return "Nothing that training recorded."
    rows = [
        [plain(name), *(plain(one.options[name], LONGEST) for one in group.settings)]
        for name in group.differs
    ]
    heads = ["option", *(plain(one.name, LONGEST) for one in group.settings)]
    return table(heads, rows, text_columns=len(heads))


def gates_text(group: SettingGroup, levels: pl.DataFrame) -> str | None:
    """The gates of every setting, layer by layer; None where no run has gates."""
    found = [
        (name, gate) for name in levels["quantity"].unique(maintain_order=True) if (gate := gate_of(name))
    ]
    if not found:
        return None
    rows: list[list[str]] = []
    first = group.settings[0]
    differing: list[list[str]] = []
    by_setting = {setting.name: _rows(levels, setting) for setting in group.settings}
    for statistic, label in _STATISTICS.items():
        for name, (kind, layer, of) in found:
            if of == statistic:
                shown = _share if statistic.startswith("share") else _level
                cells = [shown(by_setting[one.name].get(name), 3) for one in group.settings]
                rows.append([label, plain(kind), str(layer), *cells])
            if of == statistic == TOLD_STATISTIC:
                cells = [_difference(by_setting[one.name].get(name), 3) for one in group.settings[1:]]
                differing.append([plain(kind), str(layer), *cells])
    names = [plain(one.name, LONGEST) for one in group.settings]
    blocks = [
        "Mean ± standard deviation over seeds, with intervals. The sign of a gate may turn from seed to "
        "seed, since a negated branch does the same: a large deviation of the mean next to a small one of "
        "the mean \\|g\\| says so.",
        table(["", "gate", "layer", *names], rows, text_columns=3),
    ]
    if len(names) > 1:
        unlike = len({run.run.manifest.gating for run in group.runs}) > 1
        blocks.append(
            f"Differences of the mean \\|g\\| from {plain(first.name, LONGEST)}:"
            + (
                " gates of different gatings are different things; compare metrics between them, not levels."
                if unlike
                else ""
            )
        )
        blocks.append(table(["gate", "layer", *names[1:]], differing, text_columns=2))
    return "\n\n".join(blocks)


def other_metrics_text(group: SettingGroup, levels: pl.DataFrame) -> str:
    """Metrics in which settings are not told apart; empty without."""
    names = levels["quantity"].unique(maintain_order=True).to_list()
    others = [name for name in names if gate_of(name) is None and name not in HEADLINE]
    if not others:
        return ""
    by_setting = {setting.name: _rows(levels, setting) for setting in group.settings}
    rows = [
        [plain(metric_name(name)), *(_level(by_setting[one.name].get(name), 2) for one in group.settings)]
        for name in others
    ]
    heads = ["metric", *(plain(one.name, LONGEST) for one in group.settings)]
    return f"Percent. Settings are not told apart in these.\n\n{table(heads, rows)}"


def runs_text(group: SettingGroup, numbers: Mapping[str, RunNumbers]) -> str:
    """One row per run; of a dataset with domains one row per repeat."""
    metric = next((name for name in HEADLINE for run in group.runs if name in numbers[run.name].values), None)
    if group.domains:
        return _by_domain(group, numbers, metric)
    heads = [
        "setting",
        "seed",
        "run",
        "epoch",
        *([] if metric is None else [metric_name(metric), "training's"]),
    ]
    rows: list[list[str]] = []
    for setting in group.settings:
        for repeat in setting.repeats:
            for run in repeat.runs:
                row = [plain(setting.name, LONGEST), plain(repeat.name), plain(run.name, 80)]
                row.append("–" if run.training.epoch is None else str(run.training.epoch))
                if metric is not None:
                    own = numbers[run.name]
                    value = own.values[metric].mean if metric in own.values else None
                    row += [number(value, 2), number(own.trained.get(metric), 2)]
                rows.append(row)
    return f"{table(heads, rows, text_columns=3)}\n\nAll numbers of all runs are in [{CELLS}]({CELLS})."


def _by_domain(group: SettingGroup, numbers: Mapping[str, RunNumbers], metric: str | None) -> str:
    rows: list[list[str]] = []
    for setting in group.settings:
        for repeat in setting.repeats:
            found: dict[str, list[float]] = {}
            for run in repeat.runs:
                values = numbers[run.name].values
                if metric is not None and metric in values:
                    found.setdefault(str(run.domain), []).append(values[metric].mean)
            means = {domain: sum(own) / len(own) for domain, own in found.items()}
            whole = sum(means.values()) / len(means) if len(means) == len(group.domains) else None
            cells = [number(means[one], 2) if one in means else "missing" for one in group.domains]
            rows.append([plain(setting.name, LONGEST), plain(repeat.name), *cells, f"**{number(whole, 2)}**"])
    heads = ["setting", "seed", *map(plain, group.domains), "mean"]
    what = "" if metric is None else f"{metric_name(metric)}, percent. "
    return f"{what}All numbers of all runs are in [{CELLS}]({CELLS}).\n\n" + table(
        heads, rows, text_columns=2
    )
