"""Tries every release of PyTorch that gatescope admits, and writes what happened to ``TABLE.md``.

One environment at a time is built with what pip resolves that day, and removed again: 5 GB each, as PyPI's
builds of PyTorch bring CUDA. ``--only 2.11.0@3.12`` tries one; rows of others stay in the table.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TABLE = Path(__file__).parent / "TABLE.md"
# Release and Python.
RELEASES = (
    ("2.9.1", "3.12"),
    ("2.10.0", "3.11"),
    ("2.11.0", "3.12"),
    ("2.12.1", "3.11"),
    ("2.13.0", "3.11"),
    ("2.14.1", "3.11"),
    ("2.15.0", "3.13"),
)
# Names of what tests/matrix/probe.py tries; that file imports torch, which need not be here.
MODELS = ("small", "own code", "reference")
FORMATS = ("onnx", "torchscript", "pt2")
HEAD = ("torch", "Python", "onnxscript", "models", "ONNX", "TorchScript", "pt2", "tried on")
INTRODUCTION = """\
# What each release of PyTorch does

Written by `make matrix`. Each row is an environment of its own with what pip resolved on that day, on a
Linux x86-64 CPU. "works" means that the models named in the row were exported, compared with PyTorch, loaded,
and run at lengths that the export had not seen:

- small: global gates, every output, gates that can be changed, from a checkpoint in the file format of
  PyTorch before 1.6;
- own code: built by a user's own code;
- reference: of the training script's size, and verified with the reference's own submission.
"""


@dataclass(frozen=True)
class Row:
    """One line of the table: ``results`` by format, ``works`` or the first failure."""

    torch: str
    python: str
    onnxscript: str
    models: str
    results: dict[str, str]
    day: str

    @property
    def cells(self) -> tuple[str, ...]:
        """As they stand in the table."""
        results = (self.results[kind].replace("|", "/") for kind in FORMATS)
        return (self.torch, self.python, self.onnxscript, self.models, *results, self.day)


def main() -> int:
    """``python -m tests.matrix``; exit code 1 where anything in the table does not work."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="TORCH@PYTHON", help="these alone")
    parser.add_argument(
        "--python", nargs="+", default=[], metavar="X.Y=PATH", help="where a Python is; default: pythonX.Y"
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="default: all")
    parser.add_argument("--folder", type=Path, help="build environments here, keep them, use what is there")
    args = parser.parse_args()
    wanted = [tuple(one.split("@")) for one in args.only] if args.only else RELEASES
    pythons = dict(one.split("=", 1) for one in args.python)
    for torch, python in wanted:
        name = f"torch-{torch}-python-{python}"
        folder = args.folder / name if args.folder else Path(tempfile.mkdtemp(prefix=name))
        try:
            row = try_release(torch, python, pythons.get(python, f"python{python}"), folder, args.models)
        finally:
            if not args.folder:
                shutil.rmtree(folder, ignore_errors=True)
        write_table(row)
        print(" | ".join(row.cells), flush=True)
    return 0 if all(set(row.results.values()) == {"works"} for row in read_table()) else 1


def try_release(torch: str, python: str, interpreter: str, folder: Path, models: Sequence[str]) -> Row:
    """Build the environment in ``folder`` where it is not there yet, and run the probe in it."""
    began = time.monotonic()
    inside = folder / "bin" / "python"
    if not inside.exists():
        subprocess.run([interpreter, "-m", "venv", str(folder)], check=True)
    # A machine's own limits on what pip may install would hide what users get.
    environment = os.environ | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    install = [str(inside), "-m", "pip", "install", "-q", f"torch=={torch}", "-e", f"{ROOT}[export,cpu]"]
    subprocess.run(install, check=True, env=environment)
    ask = "import importlib.metadata as m, platform as p; print(m.version('onnxscript'), p.python_version())"
    answer = subprocess.run([inside, "-c", ask], check=True, capture_output=True, text=True).stdout
    onnxscript, exact = answer.split()
    command = [inside, "-m", "tests.matrix.probe", ",".join(models)]
    probed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    outcomes = [json.loads(line) for line in probed.stdout.splitlines() if line.startswith("{")]
    results: dict[str, str] = {}
    for kind in FORMATS:
        tried = [outcome for outcome in outcomes if outcome["format"] == kind]
        failed = [f"{one['model']}: {one['error']}" for one in tried if one["error"]]
        if len(tried) < len(models):
            last = " ".join(probed.stderr.strip().splitlines()[-1:])
            failed.append(f"the probe ended with {probed.returncode}: {last}")
        results[kind] = failed[0] if failed else "works"
    print(f"torch {torch} on Python {exact}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Row(torch, exact, onnxscript, ", ".join(models), results, today)


def read_table() -> list[Row]:
    """The rows of the table as it stands."""
    if not TABLE.exists():
        return []
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| 2")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [Row(c[0], c[1], c[2], c[3], dict(zip(FORMATS, c[4:7], strict=True)), c[7]) for c in cells]


def write_table(row: Row) -> None:
    """Put ``row`` in the place of the one for its release and Python."""
    key = (row.torch, row.python)
    rows = [one for one in read_table() if (one.torch, one.python) != key]
    rows.append(row)
    rows.sort(key=lambda one: [[int(part) for part in text.split(".")] for text in (one.torch, one.python)])
    table = (HEAD, ("---",) * len(HEAD), *(one.cells for one in rows))
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    TABLE.write_text(f"{INTRODUCTION}\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
