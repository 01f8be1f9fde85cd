"""Devices by name, and how many CPUs this process has; what a device needs is its back end's business."""

from __future__ import annotations

import os
from typing import Literal

from .errors import UsageError

Device = Literal["cpu", "cuda"]


def check_device(device: str) -> None:
    """Raises :class:`UsageError` where ``device`` is not a word for one."""
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device {device!r}", expected="auto, cpu or cuda")


def available_cpus() -> int:
    """CPUs this process may use, which in a container or a batch job are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
