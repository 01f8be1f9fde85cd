"""The most memory this process has held at any time, as far as the system reports it."""

from __future__ import annotations

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_memory() -> tuple[int | None, str]:
    """The peak of this process's resident memory in bytes, and how it was found.

    None where the system does not report it. Linux's ``getrusage`` would: but there a process begins with the
    peak of the one that started it.
    """
    if _STATUS.exists():
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1]), "VmHWM of /proc/self/status"
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "ru_maxrss of getrusage"
    return None, "not measured: this system does not report a process's peak"
