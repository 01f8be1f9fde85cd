"""Gates by epoch for people and for machines: text, JSON and the table as CSV."""

from __future__ import annotations

from typing import Any

import polars as pl

from ...runtime.brief import counted
from .epochs import EpochGates
from .turns import OPEN_TO, SHUT_FROM, Turn

FILES = ("epochs.csv", "epochs.png")
_NONE = "—"


def csv_bytes(found: EpochGates) -> bytes:
    """``epochs.csv``; the column of the metric has its name."""
    return found.frame.rename({"metric": found.metric or "metric"}).write_csv().encode()


def describe_epochs(found: EpochGates) -> str:
    """A line per epoch, what opened or shut, and what is not shown."""
    shown = counted(found.videos, "video")
    lines = [f"gates on {shown} of {found.annotations.name}, {found.folder}", *_table(found)]
    if found.turns:
        lines += ["gates that opened or shut:", *(f"  {_turn(turn)}" for turn in found.turns)]
    elif found.frame["epoch"].n_unique() > 1:
        lines.append("no gate opened or shut")
    lines += [
        f"  open: at most {OPEN_TO:.0%} of a gate's values multiply its branch by less than 0.05; shut: "
        f"{SHUT_FROM:.0%} or more do; in between it stays what it was"
    ]
    lines += [f"  the {kind} gate multiplies by 1 + g: it is shut where g is −1" for kind in found.film]
    if found.skipped:
        lines += ["not shown:", *(f"  {name}: {reason}" for name, reason in found.skipped)]
    return "\n".join(lines)


def epochs_json(found: EpochGates) -> dict[str, Any]:
    """The same for machines; a row per epoch, layer and gate."""
    return {
        "results": str(found.folder),
        "annotations": str(found.annotations),
        "videos": found.videos,
        "metric": found.metric,
        "rows": found.frame.to_dicts(),
        "logged": {
            "metrics": {str(epoch): own for epoch, own in sorted(found.log.metrics.items())},
            "train_loss": {str(epoch): loss for epoch, loss in sorted(found.log.losses.items())},
        },
        "turns": [vars(turn) for turn in found.turns],
        "skipped": [{"checkpoint": name, "reason": reason} for name, reason in found.skipped],
        "warnings": list(found.warnings),
    }


def _turn(turn: Turn) -> str:
    verb = "opens" if turn.becomes == "open" else "shuts"
    return (
        f"layer {turn.layer} {turn.gate} {verb} between epochs {turn.before} and {turn.at}: "
        f"{turn.share_before:.0%} to {turn.share_at:.0%} of its values shut"
    )


def _table(found: EpochGates) -> list[str]:
    kinds = found.frame["gate"].unique(maintain_order=True).to_list()
    layers = sorted(found.frame["layer"].unique().to_list())
    metric = found.metric or "metric"
    wide = 7 * len(layers)
    head = f"  {'':>5}  {'':>{len(metric)}}  {'':>10}"
    for kind in kinds:
        head += f"  {f'mean |g|, {kind}, by layer':^{wide}}"
    names = "".join("  " + "".join(f"{layer:>7}" for layer in layers) for _ in kinds)
    lines = [head, f"  epoch  {metric}  train loss{names}  checkpoint"]
    for _, rows in found.frame.group_by("epoch", "checkpoint", maintain_order=True):
        first = rows.row(0, named=True)
        line = f"  {first['epoch']:>5}  {_number(first['metric'], '.4g'):>{len(metric)}}"
        line += f"  {_number(first['train_loss'], '.4f'):>10}"
        for kind in kinds:
            own = rows.filter(pl.col("gate") == kind)["mean_abs"].to_list()
            line += "  " + "".join(f"{_number(value, '.3f'):>7}" for value in own)
        note = f": {first['note']}" if first["note"] else ""
        lines.append(f"{line}  {first['checkpoint']}{note}")
    return lines


def _number(value: float | None, how: str) -> str:
    return _NONE if value is None else format(value, how)
