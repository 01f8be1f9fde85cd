"""The Python files of a folder of code, parsed and not run: their trees, and what they import."""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ....runtime.errors import ExportError
from .unpack import MOST_CODE_ENTRIES, MOST_MODULE_BYTES

# Folders that hold no code of the model, and may be large.
_PASSED_OVER = ("__pycache__", "site-packages", "node_modules", "results", "wandb")
_DEEPEST = 6
_CATCHES_IMPORTS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


@dataclass(frozen=True)
class SourceFile:
    """One module: its ``place`` below the folder, and its syntax tree."""

    place: PurePosixPath
    tree: ast.Module


@dataclass(frozen=True)
class Import:
    """One imported module.

    - ``name``: dotted, as written; ``level``: how many dots stood before it. ``members``: the names taken
      from it, each a module or something in it.
    - ``guarded``: the code goes on without it.
    """

    name: str
    level: int
    members: tuple[str, ...]
    guarded: bool

    @property
    def top(self) -> str:
        """The package, without what is inside of it."""
        return self.name.partition(".")[0]


def read_sources(folder: Path) -> list[SourceFile]:
    """Every module below ``folder`` that is Python 3, by place; other files are passed over.

    Raises :class:`~gatescope.runtime.errors.ExportError` where there are more than any model has.
    """
    found: list[SourceFile] = []
    for path in _python_files(folder):
        if len(found) >= MOST_CODE_ENTRIES:
            raise ExportError(
                f"{folder} holds too many Python files to be a model's code",
                received=f"more than {MOST_CODE_ENTRIES:,}",
                fix="give --code the folder of the model's package alone",
            )
        tree = _parsed(path)
        if tree is not None:
            found.append(SourceFile(PurePosixPath(path.relative_to(folder).as_posix()), tree))
    return found


def imports_of(tree: ast.Module) -> list[Import]:
    """Everything that a module imports, wherever in it."""
    return list(_imports(tree, guarded=False))


def _python_files(folder: Path) -> Iterator[Path]:
    for here, inner, names in os.walk(folder):
        deep = len(Path(here).relative_to(folder).parts) >= _DEEPEST
        inner[:] = sorted(
            one
            for one in inner
            if not (deep or one.startswith(".") or one in _PASSED_OVER)
            and not Path(here, one, "pyvenv.cfg").exists()
        )
        yield from (Path(here, name) for name in sorted(names) if name.endswith(".py"))


def _parsed(path: Path) -> ast.Module | None:
    try:
        if path.stat().st_size > MOST_MODULE_BYTES:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the parser's, of somebody else's code
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _imports(node: ast.AST, *, guarded: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for one in node.names:
            yield Import(one.name, 0, (), guarded)
    elif isinstance(node, ast.ImportFrom):
        yield Import(node.module or "", node.level, tuple(one.name for one in node.names), guarded)
    tried = node.body if isinstance(node, ast.Try) and any(map(_catches, node.handlers)) else []
    typing_only = node.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) else []
    for child in ast.iter_child_nodes(node):
        inside = any(child is one for one in (*tried, *typing_only))
        yield from _imports(child, guarded=guarded or inside)


def _catches(handler: ast.ExceptHandler) -> bool:
    """Whether a failed import ends in ``handler``."""
    if handler.type is None:
        return True
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    return bool(names & _CATCHES_IMPORTS)
