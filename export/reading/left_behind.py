"""The predictions that training left next to a checkpoint, which ``--verify`` can compare it with."""

from __future__ import annotations

from pathlib import Path

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
