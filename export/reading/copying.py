"""What to run where a checkpoint is trusted, so that it can be read where it is not."""

from __future__ import annotations

from pathlib import Path

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
opt = c.get("opt")
w = next((c[k] for k in ("model", "state_dict") if k in c), c)
w = w.state_dict() if hasattr(w, "state_dict") else w
new = {"model": {k: v.detach() for k, v in w.items() if torch.is_tensor(v)}, "epoch": plain(c.get("epoch"))}
if opt is not None:
    opt = opt if hasattr(opt, "items") else vars(opt)
    new["opt"] = argparse.Namespace(**plain(opt))
torch.save(new, TARGET)
"""


def script(source: Path) -> str:
    """A Python script that writes a copy of ``source`` which holds tensors and plain options alone."""
    target = source.with_name(f"{source.stem}_plain{source.suffix}")
    return _SCRIPT.replace("SOURCE", repr(str(source))).replace("TARGET", repr(str(target)))


def advice(source: Path) -> str:
    """The script in the words of an error's "to do"."""
    lines = "\n".join(f"      {line}".rstrip() for line in script(source).splitlines())
    return (
        "in the environment it was trained in, where the file is trusted, save this as plain_copy.py and run "
        f"it; the copy it writes keeps every option and can be read:\n{lines}"
    )
