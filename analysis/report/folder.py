"""The folder a report is written to: all of it or nothing, and nothing left of the report before it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout

from ...runtime.errors import UsageError

#: Lists what an analysis wrote, so that the next one knows which files are gatescope's to remove.
LIST = ".gatescope-report.json"

_LOCK = ".lock"


def write_report(
    folder: Path, contents: Mapping[str, bytes], more: Iterable[tuple[str, bytes]]
) -> tuple[Path, ...]:
    """Put ``contents`` and ``more``, files by relative path, into ``folder``; gives their paths.

    ``more`` is drawn file by file, and none is kept in memory. Everything is written beside the report first:
    where the disk fills, or making a file fails, what was in the folder stays as it was. Then the new files
    replace those of the same name, the first of ``contents`` last, and files that an earlier analysis wrote
    and this one did not are removed. Files that nobody knows are left alone.

    Raises ``OSError``, ``ValueError`` for a name that is given twice or leads out of the folder, and
    :class:`~gatescope.runtime.errors.UsageError` where a folder stands in a file's place.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    staging = Path(tempfile.mkdtemp(dir=folder, prefix=".report-", suffix=".partial"))
    lock = FileLock(staging / _LOCK)
    try:
        lock.acquire()
        names: dict[str, None] = {}
        for name, content in chain(contents.items(), more):
            if name in names or not is_inside(name):
                raise ValueError(f"a section's file cannot be called '{name}'")
            names[name] = None
            _write(staging / name, content)
        _check_places(folder, names)
        earlier = [name for name in _listed(folder) if name not in names]
        _write(staging / LIST, _list([*names, *earlier]))
        # The list first: a file that is there without being listed would stay for ever.
        for name in (LIST, *reversed(names)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).replace(folder / name)
        for name in earlier:
            _remove(folder, name)
    finally:
        lock.release()
        shutil.rmtree(staging, ignore_errors=True)
        if made and not any(folder.iterdir()):
            folder.rmdir()
    return tuple(folder / name for name in names)


def is_inside(name: str) -> bool:
    """Whether a file's name leads to a place below the report's folder."""
    path = Path(name)
    return bool(path.name) and not path.is_absolute() and ".." not in path.parts


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with path.open("rb") as written:  # a disk that fills may say so only now
        os.fsync(written.fileno())


def _check_places(folder: Path, names: Iterable[str]) -> None:
    parents = {parent for name in names for parent in (folder / name).parents if parent != folder}
    for place in parents:
        if folder in place.parents and place.exists() and not place.is_dir():
            raise UsageError(f"{place} is a file", expected="a folder, or a name that is free")
    for name in names:
        if (folder / name).is_dir():
            raise UsageError(f"{folder / name} is a folder", expected="a file, or a name that is free")


def _list(names: list[str]) -> bytes:
    return (json.dumps({"written_by": "gatescope analyze", "files": names}, indent=0) + "\n").encode()


def _listed(folder: Path) -> Iterator[str]:
    """Files in ``folder`` that an earlier analysis wrote; none where its list is missing or damaged."""
    try:
        found: Any = json.loads((folder / LIST).read_bytes())
    except (OSError, ValueError):
        return
    names: Any = cast(dict[str, Any], found).get("files") if isinstance(found, dict) else None
    for name in cast(list[Any], names) if isinstance(names, list) else []:
        # The list is a file like any other: what leads out of the folder, by name or by link, is not ours.
        if isinstance(name, str) and "\0" not in name and is_inside(name) and (folder / name).is_file():
            parent = (folder / name).parent.resolve()
            if parent == folder.resolve() or folder.resolve() in parent.parents:
                yield name


def _remove(folder: Path, name: str) -> None:
    path = folder / name
    path.unlink(missing_ok=True)
    while (path := path.parent) != folder and not any(path.iterdir()):
        path.rmdir()


def _remove_leftovers(folder: Path) -> None:
    """What an analysis that was killed had written so far: one that still runs holds its lock."""
    for staging in folder.glob(".report-*.partial"):
        try:
            with FileLock(staging / _LOCK, timeout=0):
                pass
        except (Timeout, OSError):
            continue
        shutil.rmtree(staging, ignore_errors=True)
