"""Writes a run's files so that each is wholly there or not at all, whenever process or machine stops."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from ..files import new_file


def write_atomically(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``, durably: afterwards it would survive a power loss."""
    with new_file(path) as partial:
        partial.write_bytes(content)
    if os.name != "nt":  # Windows has no way to sync a folder
        _sync_folder(path.parent)


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Put several files into ``folder``, none of them before all have found room; the first appears last."""
    with ExitStack() as files:
        for name, content in contents.items():
            files.enter_context(new_file(folder / name)).write_bytes(content)


def append_durably(path: Path, content: bytes) -> None:
    """Append ``content`` to ``path`` and wait until it would survive a power loss."""
    with path.open("ab") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def leftovers(folder: Path) -> list[Path]:
    """Unfinished files in ``folder`` that a killed process left behind."""
    return sorted(folder.glob(".*.partial"))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
