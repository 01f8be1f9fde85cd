"""Paths as people write them, and a file that appears at once and whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


def local(path: str | os.PathLike[str]) -> Path:
    """``path`` with a leading ``~`` as the user's home; where there is no such home it is left as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~name of nobody: a file may be called so
        return Path(path)


@contextmanager
def new_file(target: Path) -> Generator[Path]:
    """A path to write to: on success what was written becomes ``target``, on any failure it is removed.

    Missing folders are made. A file that was at ``target`` stays as it was until the new one replaces it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".partial")
    os.close(descriptor)
    partial = Path(name)
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes files only the owner may read; a result is readable like any other file.
        mask = os.umask(0)
        os.umask(mask)
        partial.chmod(0o666 & ~mask)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
