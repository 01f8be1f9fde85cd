"""The machine a benchmark ran on, in a line."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("gatescope", "numpy", "polars", "torch", "onnx", "onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True)
class Machine:
    """CPU, cores this process may use, versions, the date, and how busy the machine was before we began.

    ``commit``: of gatescope, with ``-dirty`` where files differ from it; empty outside a checkout.
    """

    cpu: str
    cores: int
    system: str
    versions: dict[str, str]
    date: str
    load: float
    gpu: str = ""
    commit: str = ""

    @property
    def idle(self) -> bool:
        """Whether nearly nothing else was running."""
        return self.load <= 0.25 * self.cores

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"idle": self.idle}

    def text(self) -> str:
        """For people; a machine that was not idle is named as such."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        busy = (
            f"\n\n**The machine was not idle** (load {self.load:.1f} on {self.cores} cores before the "
            "start): these numbers are not to be quoted."
            if not self.idle
            else ""
        )
        gpu = f"{self.gpu}; " if self.gpu else ""
        return f"{gpu}{self.cpu}, {self.cores} cores; {self.system}; {versions}; {self.date}{busy}"


def this_machine(gpu: str = "") -> Machine:
    """As it is now."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        system=f"{platform.system()} {platform.release()}",
        versions=versions,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        gpu=gpu,
        commit=_commit(),
    )


def cpu_facts() -> dict[str, str]:
    """What Linux says of the first CPU; empty elsewhere."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return {}
    lines = (line.partition(":") for line in info.read_text(encoding="utf-8").split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def _cpu() -> str:
    facts = cpu_facts()
    if not facts:
        return platform.processor() or platform.machine()
    wide = "AVX-512" if "avx512f" in facts.get("flags", "").split() else "no AVX-512"
    numbers = f"family {facts.get('cpu family', '?')} model {facts.get('model', '?')}"
    return f"{facts.get('model name', 'unknown CPU')} ({numbers}, {wide})"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
