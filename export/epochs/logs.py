"""What training logged per epoch: its evaluations and its loss, from the text logs in its results folder.

Epochs count from 0, as checkpoints and ``eval.log.txt`` count them; ``train.log.txt`` counts from 1. What
TensorBoard's event files hold stands in these logs too, so they are not read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

EVAL_LOG, TRAIN_LOG = "eval.log.txt", "train.log.txt"
# Which of the logged metrics is shown, the first that there is: moments, else highlights alone (TVSum).
_MAIN = ("MR-full-mAP", "mAP")
_LINE = re.compile(r"\[Epoch\]\s*(-?\d+)\s*\[Loss\](.*)", re.DOTALL)
_METRICS = "[Metrics]"
_TOTAL = re.compile(r"\bloss_overall\s+(\S+)")


@dataclass(frozen=True)
class TrainingLog:
    """What training logged by epoch.

    ``metrics``: those of its own evaluation (percent; TVSum: fractions). ``losses``: on its training data.
    ``notes``: what could not be read.
    """

    metrics: dict[int, dict[str, float]]
    losses: dict[int, float]
    notes: tuple[str, ...]

    @property
    def main_metric(self) -> str | None:
        """The metric that is shown; None where none was logged."""
        logged = {name for own in self.metrics.values() for name in own}
        return next((name for name in (*_MAIN, *sorted(logged)) if name in logged), None)


def read_training_log(folder: Path) -> TrainingLog:
    """Read the logs in ``folder``; lines that cannot be read are counted, and logs may be missing.

    Where an epoch was logged twice, as by a training that was started again, the last line counts.
    """
    metrics: dict[int, dict[str, float]] = {}
    losses: dict[int, float] = {}
    notes: list[str] = []
    for name in (EVAL_LOG, TRAIN_LOG):
        bad = 0
        for line in _lines(folder / name, notes):
            found = _LINE.search(line)
            if found is None:
                bad += 1
                continue
            epoch, rest = int(found[1]), found[2]
            if name == EVAL_LOG:
                own = _brief(rest.partition(_METRICS)[2])
                bad += own is None
                metrics |= {} if own is None else {epoch: own}
            elif (loss := _TOTAL.search(rest)) and (value := _number(loss[1])) is not None:
                losses[epoch - 1] = value
            else:
                bad += 1
        if bad:
            notes.append(f"{name}: {bad} line{'s' if bad > 1 else ''} could not be read")
    return TrainingLog(metrics, losses, tuple(notes))


def read_metrics(path: Path) -> dict[str, float] | None:
    """The metrics of a ``…_metrics.json``; None where it cannot be read."""
    try:
        return _brief(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def _lines(path: Path, notes: list[str]) -> Iterator[str]:
    """The lines that say something; a log that training did not write is noted."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        notes.append(f"{path.name} is not there")
        return
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {error.strerror or error}")
        return
    yield from (line for line in text.splitlines() if line.strip())


def _brief(text: str) -> dict[str, float] | None:
    """The numbers under ``brief`` of a JSON document; None where it is not one, as of a line that was cut."""
    try:
        document: object = json.loads(text)
    except ValueError:
        return None
    brief = cast(Mapping[str, Any], document).get("brief") if isinstance(document, dict) else None
    if not isinstance(brief, dict):
        return None
    found = {str(name): _number(value) for name, value in cast(dict[Any, Any], brief).items()}
    return {name: value for name, value in found.items() if value is not None}


def _number(value: object) -> float | None:
    try:
        number = float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
