"""``gatescope version``: what is installed here, for whoever asks why something does not run."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version

from ..profiling.machine import cpu_name, gpu_name
from ..session.device import available_cpus

_BUILDS = ("onnxruntime", "onnxruntime-gpu")


def installation() -> list[str]:
    """Lines on this machine and on every package that gatescope's extras name, installed or not."""
    lines = [
        f"gatescope {version('gatescope')}",
        f"  Python {platform.python_version()} on {platform.platform()}",
        f"  {cpu_name() or 'unknown processor'}, {available_cpus()} cores for this process",
        f"  GPU: {gpu_name() or 'none that nvidia-smi names'}",
    ]
    for extra, packages in _packages().items():
        found = [f"{package} {_version(package) or 'not installed'}" for package in packages]
        lines.append(f"  {extra}: {', '.join(found)}")
    return [*lines, *_runtime()]


def _packages() -> dict[str, list[str]]:
    """Direct dependencies by extra; those that are always there under ``base``."""
    found: dict[str, list[str]] = {}
    for text in requires("gatescope") or ():
        name, extra = re.findall(r"^[\w.-]+", text)[0], re.findall(r"extra == [\"']([\w-]+)", text)
        if name != "gatescope" and "dev" not in extra:
            found.setdefault(extra[0] if extra else "base", []).append(name)
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _runtime() -> list[str]:
    """What ONNX Runtime offers, and a warning where two builds overwrite each other's files."""
    builds = [build for build in _BUILDS if _version(build)]
    if not builds:
        return ["  no ONNX Runtime: install one build of it, gatescope[cpu] or gatescope[gpu]"]
    from ..session.backends.onnx_runtime import available_providers

    lines = [f"  providers: {', '.join(available_providers())}"]
    if len(builds) > 1:
        lines.append(
            f"  warning: {' and '.join(builds)} are both installed and share their files: "
            "uninstall both, then install one"
        )
    return lines
