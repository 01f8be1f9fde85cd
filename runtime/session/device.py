"""Devices by name, and how many CPUs this process has; what a device needs is its back end's business."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from ..errors import UsageError

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class DeviceOptions:
    """What a session is asked to run on.

    - ``device``: ``auto``, ``cpu`` or ``cuda``. ``threads``: CPUs it may use; None: all this process may use.
    - ``tf32``: CUDA may round the inputs of matrix products to 10 bits. ``cuda_graphs``: the work of a batch
      is recorded once per shape and replayed.
    """

    device: str = "auto"
    threads: int | None = None
    tf32: bool = False
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        check_device(self.device)
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"a session cannot run on {self.threads} threads", expected="at least 1")
        if self.cuda_graphs and self.device == "cpu":
            raise UsageError("CUDA graphs on the CPU", expected="device cuda", fix="leave out --cuda-graphs")


def check_device(device: str) -> None:
    """Raises :class:`UsageError` where ``device`` is not a word for one."""
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device {device!r}", expected="auto, cpu or cuda")


def available_cpus() -> int:
    """CPUs this process may use, which in a container or a batch job are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
