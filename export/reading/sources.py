"""The Python files of a training run's code: a ``code.zip`` or a folder, read as text and never run.

A file of code comes from a stranger: a module is read when something asks for it, and only as much of it as
a module of this kind can have. What leaves the archive or folder is not looked at.
"""

from __future__ import annotations

import ast
import os
import sys
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

# Far above any module of a model: what is larger is no such module, or a bomb.
MOST_BYTES = 1 << 20
_MOST_FILES = 5_000
_DEEPEST = 4
_LIBRARIES = sys.stdlib_module_names | {"torch", "torchvision", "numpy", "scipy"}
_LEFT_OUT = ("__pycache__", "site-packages", "node_modules")


class UnreadableCodeError(Exception):
    """Code that cannot be parsed, with the reason; it is then unknown."""


class CodeSources:
    """The modules under ``path``, by their place in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._trees: dict[PurePosixPath, ast.Module] = {}

    @cached_property
    def files(self) -> frozenset[PurePosixPath]:
        """Every Python file, by its path in the archive or folder.

        Raises :class:`UnreadableCodeError` where there are too many, or the archive cannot be read.
        """
        try:
            found = frozenset(self._walk() if self.path.is_dir() else self._listed())
        except _ZIP_ERRORS as error:
            raise UnreadableCodeError(f"{self.path.name} cannot be read ({_reason(error)})") from error
        if len(found) > _MOST_FILES:
            raise UnreadableCodeError(f"{self.path.name} holds more than {_MOST_FILES:,} Python files")
        return found

    def tree(self, file: PurePosixPath) -> ast.Module:
        """The syntax tree of ``file``.

        Raises :class:`UnreadableCodeError` where it is too large, damaged, or not Python 3.
        """
        if file not in self._trees:
            self._trees[file] = self._parsed(file)
        return self._trees[file]

    def module(self, dotted: str, importer: PurePosixPath) -> PurePosixPath | None:
        """The file of the module that ``importer`` knows as ``dotted``; None where it is not here.

        A leading dot counts from the importer's own folder. Training zips a package's inside and copies
        single files of it, so that a module next to the importer answers to its last name alone.
        """
        level = len(dotted) - len(dotted.lstrip("."))
        parts = [part for part in dotted.split(".") if part]
        here = importer.parent
        if level:
            for _ in range(level - 1):
                here = here.parent
            return self._at(here.joinpath(*parts)) if parts else None
        for folder in (importer.parent, *importer.parent.parents):
            if (found := self._at(folder.joinpath(*parts))) is not None:
                return found
        alone = len(parts) > 1 and parts[0] not in _LIBRARIES
        return self._at(here / parts[-1]) if alone else None

    def _at(self, place: PurePosixPath) -> PurePosixPath | None:
        candidates = (place.with_name(f"{place.name}.py") if place.name else None, place / "__init__.py")
        return next((one for one in candidates if one in self.files), None)

    def _walk(self) -> Iterator[PurePosixPath]:
        for folder, inner, names in os.walk(self.path):
            here = Path(folder).relative_to(self.path)
            deep = len(here.parts) >= _DEEPEST
            inner[:] = [one for one in inner if not (deep or one.startswith(".") or one in _LEFT_OUT)]
            yield from (PurePosixPath(here.as_posix(), name) for name in names if name.endswith(".py"))

    def _listed(self) -> Iterator[PurePosixPath]:
        with zipfile.ZipFile(self.path) as archive:
            for name in archive.namelist():
                place = PurePosixPath(name)
                if name.endswith(".py") and not place.is_absolute() and ".." not in place.parts:
                    yield place

    def _parsed(self, file: PurePosixPath) -> ast.Module:
        content = self._content(file)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the parser's, of somebody else's code
                return ast.parse(content)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise UnreadableCodeError(f"{file} is not Python 3 ({_reason(error)})") from error

    def _content(self, file: PurePosixPath) -> bytes:
        try:
            if self.path.is_dir():
                with (self.path / file).open("rb") as stream:
                    content = stream.read(MOST_BYTES + 1)
            else:
                with zipfile.ZipFile(self.path) as archive, archive.open(str(file)) as stream:
                    content = stream.read(MOST_BYTES + 1)
        except _ZIP_ERRORS as error:
            raise UnreadableCodeError(f"{file} cannot be read ({_reason(error)})") from error
        if len(content) > MOST_BYTES:
            raise UnreadableCodeError(f"{file} is larger than {MOST_BYTES >> 20} MB")
        return content


# Whatever a damaged, encrypted or unusual archive may raise, and a folder that is gone.
_ZIP_ERRORS = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    ValueError,
    RuntimeError,
    NotImplementedError,
)


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
