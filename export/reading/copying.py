"""What to run where a checkpoint is trusted, so that it can be read where it is not."""

from __future__ import annotations

import re
from pathlib import Path

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
