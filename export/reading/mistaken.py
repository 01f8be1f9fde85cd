"""What was given where a checkpoint belongs: an exported model, a run, options, predictions, annotations."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, cast

from ...runtime.errors import CheckpointError, GatescopeError
from ...runtime.inspection.identify import identify
from ...runtime.runs.schema import RUN_FILE
from ...runtime.session.model_file import read_manifest

_LONGEST_LINE = 1 << 20
_ZIP = b"PK\x03\x04"
_CHECKPOINTS = (".ckpt", ".pth", ".pt")
_EXPECTED = "the checkpoint that training saved (.ckpt, .pth)"


def refuse_folder(path: Path) -> CheckpointError:
    """What to say of the folder ``path``."""
    if (path / RUN_FILE).is_file():
        return CheckpointError(
            f"{path} is a run folder, not a checkpoint",
            received=f"a folder with {RUN_FILE}, which 'gatescope run' wrote",
            expected=_EXPECTED,
            fix=f"gatescope analyze {shlex.quote(str(path))}, or give the checkpoint itself",
        )
    held = sorted(one.name for one in path.iterdir() if one.suffix in _CHECKPOINTS)
    return CheckpointError(
        f"{path} is a folder",
        expected="the checkpoint file itself",
        fix=f"give one of: {', '.join(held)}" if held else "give the path of the checkpoint file",
    )


def mistaken(path: Path) -> CheckpointError | None:
    """What to say of the file ``path`` if it is known to be something else; None where it is not known.

    Looks at the file's beginning, and at its manifest if it has one; nothing in it is executed.
    """
    with path.open("rb") as stream:
        head = stream.read(_LONGEST_LINE)
    if head[:1].isspace() or head[:1] in (b"{", b"["):
        return _of_json(path, head)
    try:
        if identify(path) != "model":
            return None
        return _exported(path, f"a model that gatescope exported ({read_manifest(path).gating} gates)")
    except GatescopeError:
        # Without a manifest of ours only the name, or a zip of another kind, says that it is a model.
        if path.suffix.lower() in (".onnx", ".ort"):
            return _exported(path, "an ONNX model without a manifest of gatescope")
        if head.startswith(_ZIP) and path.suffix.lower() in (".pt2", ".ts", ".torchscript"):
            return _exported(path, "an exported PyTorch program")
        return None


def _exported(path: Path, received: str) -> CheckpointError:
    ours = "gatescope exported" in received
    return CheckpointError(
        f"{path} is an exported model, not a checkpoint",
        received=received,
        expected=_EXPECTED,
        fix=f"gatescope run {shlex.quote(str(path))} --annotations FILE --features ROOT --output run/, "
        "or give the checkpoint it was exported from"
        if ours
        else "give the checkpoint it was exported from",
    )


def _of_json(path: Path, head: bytes) -> CheckpointError | None:
    text = head.lstrip().decode("utf-8", errors="replace")
    first = _first(text)
    if isinstance(first, list):
        items = cast(list[Any], first)
        first = items[0] if items else None
    keys: set[str] = set(cast(dict[str, Any], first)) if isinstance(first, dict) else set()
    if "pred_relevant_windows" in keys:
        what, fix = "predictions", "these go to --verify PREDICTIONS; give the checkpoint they were made with"
    elif {"qid", "query"} <= keys:
        what, fix = "annotations", "these go to --annotations FILE; give the checkpoint as well"
    elif keys & {"nheads", "hidden_dim", "gating_type", "v_feat_dirs"}:
        what = "the options of a training run"
        fix = "options next to a checkpoint are found by themselves: give the checkpoint in the same folder"
    elif first is not None:
        what, fix = "a JSON file", "give the checkpoint itself"
    else:
        return None
    return CheckpointError(
        f"{path} is not a checkpoint",
        received=f"{what} (JSON)" if what != "a JSON file" else what,
        expected=_EXPECTED,
        fix=fix,
    )


def _first(text: str) -> object:
    """The document ``text`` is, or the one in its first line; None for neither."""
    for candidate in (text, text.splitlines()[0] if text else ""):
        try:
            found: object = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        return found
    return None
