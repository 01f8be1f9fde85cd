"""Opens the sessions that are measured, all with the same options."""

from __future__ import annotations

from pathlib import Path

from ..session.device import DeviceOptions
from ..session.session import GateSession


def open_on(model: str | Path, wanted: DeviceOptions) -> GateSession:
    """A session of ``model`` as ``wanted``."""
    return GateSession(
        model,
        device=wanted.device,
        threads=wanted.threads,
        tf32=wanted.tf32,
        cuda_graphs=wanted.cuda_graphs,
    )
