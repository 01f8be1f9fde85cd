"""What decides a model's numbers in the code that trained it, as hashes of its parts.

Beginning with ``build_model`` (of what it returns, the first: the model, not the loss), every function, class
and constant that a part names is a part too, through the imports of the code's own modules. Of a class its
head, ``__init__``, ``forward`` and every method that some part names count. A part's hash covers its normal
form and what the names in it mean, so that the same class under another import has another hash.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from .normal_form import (
    first_result,
    loaded_names,
    nodes_of,
    normal_form,
    silenced,
    spoken_attributes,
    stored_names,
)
from .sources import CodeSources, UnreadableCodeError

ENTRY = "build_model"
_HOME = "model.py"
_ALWAYS = ("__init__", "forward")
_DIGITS = 16
_MOST_PARTS = 2_000


@dataclass(frozen=True)
class Fingerprint:
    """Hashes by the part's name (``transformer.Encoder.forward``), and the file that builds the model."""

    entry: str
    parts: dict[str, str]


def fingerprint_code(path: Path) -> Fingerprint:
    """The fingerprint of the code at ``path``, a ``code.zip`` or a folder; nothing in it is run.

    Raises :class:`~gatescope.export.reading.sources.UnreadableCodeError` with the reason where there is none.
    """
    sources = CodeSources(path)
    entry = _entry(sources)
    walk = _Walk(sources)
    try:
        walk.follow(entry, ENTRY)
        return Fingerprint(str(entry), walk.hashes())
    except RecursionError:
        raise UnreadableCodeError(f"{entry} is nested too deeply") from None


def _entry(sources: CodeSources) -> PurePosixPath:
    """The file that builds the model."""
    homes = sorted((one for one in sources.files if one.name == _HOME), key=lambda one: len(one.parts))
    found = [one for one in homes if _binds(sources.tree(one), ENTRY)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnreadableCodeError(f"several files define {ENTRY}: {', '.join(map(str, found[:4]))}")
    raise UnreadableCodeError(f"no {_HOME} in {sources.path.name} defines {ENTRY}")


def _binds(tree: ast.Module, name: str) -> bool:
    return any(isinstance(one, ast.FunctionDef) and one.name == name for one in tree.body)


@dataclass(frozen=True)
class _Part:
    """A piece of code under a name, and the module whose names it uses."""

    name: str
    module: PurePosixPath
    node: ast.AST
    # What the names in it mean, where that is known outside of the builtins.
    links: dict[str, str] = field(default_factory=dict[str, str])

    def hash(self) -> str:
        links = ",".join(f"{name}={self.links[name]}" for name in sorted(self.links))
        text = f"{self.name}\n{normal_form(self.node)}\n{links}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


class _Walk:
    """Follows names from part to part."""

    def __init__(self, sources: CodeSources) -> None:
        self._sources = sources
        self._parts: dict[str, _Part] = {}
        self._seen: set[tuple[PurePosixPath, str]] = set()
        # Methods by name that no part has named yet, and the attributes that parts have named.
        self._waiting: dict[str, list[_Part]] = {}
        self._spoken: set[str] = set()
        self._todo: list[tuple[PurePosixPath, str]] = []

    def follow(self, module: PurePosixPath, name: str) -> None:
        """Take in the part ``name`` of ``module``, and all that it leads to."""
        self._todo = [(module, name)]
        while self._todo:
            self._take(*self._todo.pop())

    def hashes(self) -> dict[str, str]:
        return {name: part.hash() for name, part in sorted(self._parts.items())}

    def _take(self, module: PurePosixPath, name: str) -> None:
        if (module, name) in self._seen:
            return
        self._seen.add((module, name))
        for number, node in enumerate(self._definitions(module, name)):
            label = f"{_stem(module)}.{name}" + (f"#{number}" if number else "")
            if isinstance(node, ast.ClassDef):
                self._take_class(label, module, node)
            else:
                whole = first_result(node) if name == ENTRY and isinstance(node, ast.FunctionDef) else node
                self._add(_Part(label, module, whole))

    def _take_class(self, label: str, module: PurePosixPath, node: ast.ClassDef) -> None:
        methods = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
        rest = [one for one in node.body if one not in methods]
        head = ast.ClassDef(
            name=node.name,
            bases=node.bases,
            keywords=node.keywords,
            body=rest,
            decorator_list=node.decorator_list,
        )
        self._add(_Part(label, module, head))
        for method in methods:
            part = _Part(f"{label}.{method.name}", module, method)
            special = method.name.startswith("__") and method.name.endswith("__")
            if method.name in _ALWAYS or special or method.name in self._spoken:
                self._add(part)
            else:
                self._waiting.setdefault(method.name, []).append(part)

    def _add(self, part: _Part) -> None:
        inner = dict(_imports(part.node))
        node = silenced(part.node)
        name, number = part.name, 0
        while name in self._parts:  # a property and its setter, or a second definition
            number += 1
            name = f"{part.name}#{number}"
        if len(self._parts) >= _MOST_PARTS:
            raise UnreadableCodeError(f"its model has more than {_MOST_PARTS:,} parts")
        links = self._links(part.module, node, inner)
        self._parts[name] = _Part(name, part.module, node, links)
        self._spoken |= (new := spoken_attributes(node) - self._spoken)
        for attribute in sorted(new & self._waiting.keys()):
            for method in self._waiting.pop(attribute):
                self._add(method)

    def _links(self, module: PurePosixPath, node: ast.AST, inner: dict[str, str]) -> dict[str, str]:
        """What the names that ``node`` does not bind itself mean."""
        local = stored_names(node) - inner.keys()
        found: dict[str, str] = {}
        for name in sorted(loaded_names(node) - local):
            target = inner.get(name)
            meaning = (
                self._import(module, name, target, node) if target else self._meaning(module, name, node)
            )
            if meaning is not None:
                found[name] = meaning
        return found

    def _meaning(self, module: PurePosixPath, name: str, node: ast.AST) -> str | None:
        """What the global ``name`` of ``module`` stands for; None for a builtin."""
        tree = self._sources.tree(module)
        imported = sorted({target for local, target in _imports(tree, deep=False) if local == name})
        if self._definitions(module, name):
            self._todo.append((module, name))
            return " or ".join([f"{_stem(module)}.{name}", *imported])
        if imported:
            return " or ".join(self._import(module, name, target, node) for target in imported)
        for star in _stars(tree):
            there = self._sources.module(star, module)
            if there is not None and self._definitions(there, name):
                self._todo.append((there, name))
                return f"{_stem(there)}.{name}"
        return None if hasattr(builtins, name) else "unknown"

    def _import(self, module: PurePosixPath, name: str, target: str, node: ast.AST) -> str:
        """What an imported name stands for; a part of the code's own modules is taken in."""
        own = self._sources.module(target, module)
        if own is not None:  # the module itself: what is read of it
            read = [one for one in ast.walk(node) if isinstance(one, ast.Attribute)]
            of_it = (one.attr for one in read if isinstance(one.value, ast.Name) and one.value.id == name)
            self._todo += [(own, attribute) for attribute in of_it]
            return _stem(own)
        front, _, last = target.rpartition(".")
        there = self._sources.module(front or ".", module) if front.strip(".") else None
        if there is not None:
            self._todo.append((there, last))
            return f"{_stem(there)}.{last}"
        return ".".join([part for part in target.split(".") if part][-2:])

    def _definitions(self, module: PurePosixPath, name: str) -> list[ast.stmt]:
        """Statements at the top of ``module`` that define ``name``."""
        return [
            one
            for one in nodes_of(self._sources.tree(module).body)
            if (isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and one.name == name)
            or (isinstance(one, ast.Assign | ast.AnnAssign | ast.AugAssign) and name in stored_names(one))
        ]


def _imports(node: ast.AST, *, deep: bool = True) -> Iterator[tuple[str, str]]:
    """(local name, dotted name) of what is imported in ``node``; not deep: at a module's top alone."""
    for one in ast.walk(node) if deep else nodes_of(getattr(node, "body", [])):
        if isinstance(one, ast.Import):
            for alias in one.names:
                yield (
                    (alias.asname or alias.name.partition(".")[0]),
                    (alias.name if alias.asname else alias.name.partition(".")[0]),
                )
        elif isinstance(one, ast.ImportFrom):
            front = "." * one.level + (one.module or "")
            joint = "" if front.endswith(".") or not front else "."
            for alias in one.names:
                if alias.name != "*":
                    yield alias.asname or alias.name, f"{front}{joint}{alias.name}"


def _stars(tree: ast.Module) -> Iterator[str]:
    for one in nodes_of(tree.body):
        if isinstance(one, ast.ImportFrom) and any(alias.name == "*" for alias in one.names):
            yield "." * one.level + (one.module or "")


def _stem(file: PurePosixPath) -> str:
    return file.parent.name if file.stem == "__init__" else file.stem
