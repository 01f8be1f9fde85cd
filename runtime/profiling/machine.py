"""What a profile was measured on: device, processor, how busy it was, versions."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from ..runs.provenance import run_versions
from ..session.device import available_cpus
from ..session.session import GateSession
from .results import Machine

_CPUINFO = Path("/proc/cpuinfo")
_ASK_GPU = ("--query-gpu=name", "--format=csv,noheader")
_PATIENCE = 10.0  # seconds; a driver in trouble answers late or never


def describe_machine(session: GateSession, *, beside: tuple[str, ...] = ()) -> Machine:
    """This machine, as ``session`` uses it; ``beside`` names packages that compute apart from it."""
    return Machine(
        device=session.device,
        providers=session.providers,
        provider_options=session.provider_options,
        threads=session.threads,
        cpu=cpu_name(),
        cpus=available_cpus(),
        gpu=gpu_name() if session.device == "cuda" else None,
        system=platform.platform(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        versions=run_versions(session.versions | {package: version(package) for package in beside}),
    )


def cpu_name() -> str | None:
    """The processor's name; None where the system does not give one."""
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or None


def gpu_name() -> str | None:
    """The GPUs that nvidia-smi names; None where there is no such program, or it fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        asked = subprocess.run(
            [program, *_ASK_GPU], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    names = [line.strip() for line in asked.stdout.splitlines() if line.strip()]
    return ", ".join(names) if asked.returncode == 0 and names else None
