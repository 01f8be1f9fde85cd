"""Peak memory of runs that differ only in their number of samples, each in a process of its own.

Run as a program it does one such run and prints its peak in bytes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.runtime.tiny_model import tiny_model

from .dataset import make_dataset

_ROOT = Path(__file__).parents[2]
_CLIPS, _WORDS = 9, 4


def peak_memory(folder: Path, samples: int, tell: Callable[[str], None]) -> int:
    """Bytes at the peak of ``gatescope run`` with ``samples`` samples of tiny features, batches of 32."""
    model = folder / "tiny.onnx"
    manifest = tiny_model(model)
    tell(f"peak memory of a run of {samples} samples")
    data = make_dataset(
        folder / f"{samples}",
        manifest.preprocessing,
        samples,
        distinct=min(8, samples),
        clips=_CLIPS,
        words=_WORDS,
    )
    words = (model, data.annotations, data.root, folder / f"run-{samples}")
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.memory", *map(str, words)],
        cwd=_ROOT,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return int(done.stdout)


def _peak_of_this_process() -> int:
    """Linux's VmHWM: ``getrusage`` would count what the parent had when it started this process."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not say how much memory a process had at its peak")


if __name__ == "__main__":
    from gatescope.runtime.running.pipeline import run_model

    run_model(*sys.argv[1:], device="cpu")
    print(_peak_of_this_process())
