"""The predictions that training left next to a checkpoint, which ``--verify`` can compare it with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .checkpoint import Checkpoint

_ENDINGS = ("_preds.jsonl", "_submission.jsonl")


def find_predictions(checkpoint: Path) -> Path | None:
    """The file next to ``checkpoint`` that most likely holds its own predictions; None where there is none.

    Training writes ``best_…_preds.jsonl`` with ``model_best.ckpt``, ``latest_…`` with ``model_latest.ckpt``,
    and a submission of the last evaluation. Files cut by NMS are left out: they cannot be compared.
    """
    try:
        names = [path.name for path in checkpoint.parent.iterdir() if path.is_file()]
    except OSError:
        return None
    found = [name for name in names if name.endswith(_ENDINGS) and "nms" not in name.lower()]
    state = next((word for word in ("best", "latest") if word in checkpoint.stem.lower()), "best")
    others = {"best", "latest"} - {state}

    def rank(name: str) -> tuple[bool, bool, bool, str]:
        """Of the same state first, of the other state last, validation before other splits."""
        lower = name.lower()
        return (
            any(lower.startswith(word) for word in others),
            not lower.startswith(state),
            "val" not in lower,
            name,
        )

    best = min(found, key=rank, default=None)
    return None if best is None else checkpoint.parent / best


@dataclass(frozen=True)
class Left:
    """The predictions that a checkpoint made while it was trained, and training's metrics of them.

    None where there are none, and ``said`` reports why.
    """

    predictions: Path | None
    metrics: Path | None
    said: str


def left_by(path: Path, read: Checkpoint) -> Left:
    """What the checkpoint at ``path``, and no other of its training, predicted.

    Predictions of the best state are the best checkpoint's. The latest are the latest checkpoint's where the
    last evaluation in ``eval.log.txt`` was at its epoch; others have none.
    """
    stem, state = path.stem.lower(), None
    for word in ("best", "latest"):
        state = word if word in stem else state
    if state is None and re.search(r"_e\d+$", stem):
        return Left(None, None, "training kept none of this epoch")
    found = find_predictions(path)
    begins = (
        None if found is None else next((w for w in ("best", "latest") if found.name.startswith(w)), None)
    )
    # Without a state in its name it is the submission of the final evaluation, which takes the best.
    of_best = begins is None and state == "best"
    if found is None or not (begins == state or of_best):
        return Left(None, None, f"none of the {state} state found" if state else "none found")
    epoch, evaluated = read.content.get("epoch"), _last_evaluated(path.parent / "eval.log.txt")
    if state == "latest" and isinstance(epoch, int) and evaluated not in (None, epoch):
        return Left(None, None, f"{found.name} is of epoch {evaluated}, the checkpoint of epoch {epoch}")
    metrics = found.with_name(f"{found.stem}_metrics.json")
    return Left(
        found,
        metrics if metrics.is_file() else None,
        f"{found.name}" + (f", with {metrics.name}" if metrics.is_file() else ""),
    )


def _last_evaluated(log: Path) -> int | None:
    """The epoch of the last line of training's log of evaluations; None where it cannot be read."""
    try:
        epochs = re.findall(r"\[Epoch\]\s*(\d+)", log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return int(epochs[-1]) if epochs else None
