"""A ``code.zip`` as a folder: all that it names stays inside, and nothing of it grows beyond what code needs.

An archive comes from a stranger. Names that leave it, links, and sizes far above those of code are refused
before anything is written; large files that are not code are left out, because a model's module needs none.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from ....runtime.brief import counted
from ....runtime.errors import ExportError

# Far above any archive of code. Training leaves 100 kB.
MOST_ARCHIVE_BYTES = 256 << 20
MOST_CODE_ENTRIES = 5_000
MOST_UNPACKED_BYTES = 64 << 20
# A module; and a file that a module may read, above which it is left out.
MOST_MODULE_BYTES = 4 << 20
MOST_DATA_BYTES = 8 << 20

_UNPACK = "unpack what you trust of it, and give that folder: --code DIR"
_LONGEST_NAME = 240
_CHUNK = 1 << 20
# Whatever a damaged, encrypted or unusual archive may raise.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, RuntimeError, NotImplementedError)


def unpack(archive: Path, folder: Path) -> list[str]:
    """Write the files of ``archive`` into the empty ``folder``; returns the names of those left out.

    Raises :class:`~gatescope.runtime.errors.ExportError` where it is no archive, is damaged or empty, names a
    place outside of itself, or is larger than code is.
    """
    size = archive.stat().st_size
    if size > MOST_ARCHIVE_BYTES:
        raise ExportError(
            f"{archive} is too large for an archive of code",
            received=f"{size / 1e6:,.0f} MB",
            expected=f"at most {MOST_ARCHIVE_BYTES / 1e6:,.0f} MB",
            fix=_UNPACK,
        )
    try:
        with zipfile.ZipFile(archive) as opened:
            files, left_out = _choose(archive, opened.infolist())
            for entry, place in files:
                _write(opened, entry, folder / place)
    except _DAMAGE as error:
        raise _damaged(archive, error) from error
    return left_out


def _choose(
    archive: Path, entries: Sequence[zipfile.ZipInfo]
) -> tuple[list[tuple[zipfile.ZipInfo, PurePosixPath]], list[str]]:
    """Which entries are written where, and the names of those that are too large to be needed."""
    if len(entries) > MOST_CODE_ENTRIES:
        raise _too_much(archive, f"{len(entries):,} entries", f"at most {MOST_CODE_ENTRIES:,}")
    chosen: list[tuple[zipfile.ZipInfo, PurePosixPath]] = []
    left_out: list[str] = []
    for entry, place in _places(archive, entries):
        module = place.suffix == ".py"
        if module and entry.file_size > MOST_MODULE_BYTES:
            raise _too_much(
                archive, f"{place} of {_megabytes(entry.file_size)}", _megabytes(MOST_MODULE_BYTES)
            )
        if not module and entry.file_size > MOST_DATA_BYTES:
            left_out.append(f"{place} ({_megabytes(entry.file_size)})")
        else:
            chosen.append((entry, place))
    total = sum(entry.file_size for entry, _ in chosen)
    if total > MOST_UNPACKED_BYTES:
        raise _too_much(archive, f"{_megabytes(total)} unpacked", _megabytes(MOST_UNPACKED_BYTES))
    if not any(place.suffix == ".py" for _, place in chosen):
        raise ExportError(
            f"{archive} holds no Python code",
            received=counted(len(entries), "entry"),
            expected="the modules of the model, as training zipped them",
            fix="give the folder with the model's code: --code DIR",
        )
    return chosen, left_out


def _places(
    archive: Path, entries: Sequence[zipfile.ZipInfo]
) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Every file and its place below the folder it is unpacked in."""
    seen: set[str] = set()
    for entry in entries:
        place = PurePosixPath(entry.filename)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        odd = "\\" in entry.filename or "\0" in entry.orig_filename or len(entry.filename) > _LONGEST_NAME
        if place.is_absolute() or ".." in place.parts or ":" in entry.filename or odd:
            raise _unsafe(archive, f"the name {entry.filename[:80]!r}", "names inside the archive")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _unsafe(archive, f"{entry.filename[:80]!r}, a link or device", "files and folders")
        if entry.is_dir():
            continue
        if str(place) in seen:
            raise _unsafe(archive, f"{entry.filename[:80]!r} twice", "every name once")
        seen.add(str(place))
        yield entry, place
    files = {PurePosixPath(name) for name in seen}
    if both := sorted(str(one) for one in files if not files.isdisjoint(one.parents)):
        raise _unsafe(archive, f"{both[0][:80]!r} inside a file", "files and folders")


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Unpack one file; what is longer than it says is cut there and fails its checksum."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(entry) as source, target.open("xb") as written:
        while chunk := source.read(_CHUNK):
            written.write(chunk)


def _unsafe(archive: Path, received: str, expected: str) -> ExportError:
    return ExportError(
        f"{archive} is not an archive that training wrote; nothing of it was run",
        received=received,
        expected=expected,
        fix=_UNPACK,
    )


def _too_much(archive: Path, received: str, expected: str) -> ExportError:
    return ExportError(
        f"{archive} unpacks to more than code is; nothing of it was run",
        received=received,
        expected=expected,
        fix=_UNPACK,
    )


def _damaged(archive: Path, error: Exception) -> ExportError:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ExportError(
        f"{archive} cannot be unpacked",
        received=f"{archive.stat().st_size:,} bytes: {text[:200]}",
        expected="a complete zip archive without a password",
        fix="copy it again, or give the folder with the model's code: --code DIR",
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
