"""What to do with a file that is not read: how to copy it where it is trusted, or what it is instead.

A checkpoint that holds more than tensors and options is copied by a script, in the environment that trained
it. What is not a checkpoint is named: an exported model, a run, options, predictions, annotations.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any, cast

from ...runtime.errors import CheckpointError, GatescopeError
from ...runtime.inspection.identify import identify
from ...runtime.runs.schema import RUN_FILE
from ...runtime.session.model_file import read_manifest

# The keys under which training scripts save a state dict; and an average of the weights next to it.
STATES = ("model", "state_dict", "model_state_dict")
AVERAGES = ("model_ema", "ema_model", "ema", "ema_state_dict", "state_dict_ema")

# Runs under any PyTorch, NumPy installed or not. Every option is kept: as a number, a text, a list or a dict.
_SCRIPT = """\
import argparse, torch

def plain(x):
    if x is None or isinstance(x, type):
        return x and x.__name__
    x = x.tolist() if hasattr(x, "tolist") else x
    for kind in (bool, int, float, str):
        if isinstance(x, kind):
            return kind(x)
    if hasattr(x, "items"):
        return {str(k): plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple, set, frozenset)):
        return [plain(v) for v in x]
    return plain(vars(x)) if type(x) is argparse.Namespace else str(x)

try:
    c = torch.load(SOURCE, map_location="cpu", weights_only=False)
except TypeError:  # before PyTorch 1.13
    c = torch.load(SOURCE, map_location="cpu")
c = {"model": c} if hasattr(c, "state_dict") else c
opt, adam = c.get("opt"), c.get("optimizer")
keys = STATES
key = next((k for k in keys if hasattr(c.get(k), "items") or hasattr(c.get(k), "state_dict")), None)
w = c[key] if key else c
w = w.state_dict() if hasattr(w, "state_dict") else w
new = {
    key or "model": {k: v.detach() for k, v in w.items() if torch.is_tensor(v)},
    "epoch": plain(c.get("epoch")),
}
if hasattr(opt, "items") or hasattr(opt, "__dict__"):
    opt = opt if hasattr(opt, "items") else vars(opt)
    new["opt"] = argparse.Namespace(**plain(opt))
if hasattr(adam, "items") and adam.get("state"):  # tells which parameters were trained
    kept = {k: {n: t for n, t in s.items() if n == "exp_avg"} for k, s in adam["state"].items()}
    groups = [{"params": list(g["params"])} for g in adam["param_groups"]]
    new["optimizer"] = {"state": kept, "param_groups": groups}
torch.save(new, TARGET)
"""

_LONGEST_LINE = 1 << 20
_ZIP = b"PK\x03\x04"
_CHECKPOINTS = (".ckpt", ".pth", ".pt")
_EXPECTED = "the checkpoint that training saved (.ckpt, .pth)"


def script(source: Path) -> str:
    """A Python script that writes a copy of ``source`` which holds tensors and plain options alone."""
    target = source.with_name(f"{source.stem}_plain{source.suffix}")
    values = {"SOURCE": str(source), "TARGET": str(target), "STATES": (*STATES, *AVERAGES)}
    # All at once: a path may hold one of these words.
    return re.sub("|".join(values), lambda found: repr(values[found[0]]), _SCRIPT)


def advice(source: Path) -> str:
    """The script in the words of an error's "to do"."""
    lines = "\n".join(f"      {line}".rstrip() for line in script(source).splitlines())
    return (
        "in the environment it was trained in, where the file is trusted, save this as plain_copy.py and run "
        f"it; the copy it writes keeps every option and can be read:\n{lines}"
    )


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
