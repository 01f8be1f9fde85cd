"""Which function of the code builds the model: found by parsing, so that nothing runs until it is known.

A factory takes the training options and returns a module that takes the features by name (``src_vid``), alone
or in a tuple, list or dict. One that another factory calls is a part of it. Where several are left, the one
that the training and inference scripts import is meant.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ....runtime.errors import UsageError
from .mount import Mounts
from .survey import SourceFile, imports_of

_INPUT = "src_vid"
# Scripts use a factory; what they define themselves, and functions called like theirs, does more than build.
_SCRIPT = re.compile(
    r"^(train|inference|infer|eval|evaluate|test|main|demo|config|run)(_.*)?$|^.*_(train|test)$"
)
_DOES_MORE = re.compile(
    r"^_*(setup|load|restore|save|train|test|eval\w*|run|main|start|init)(_|$)", re.IGNORECASE
)
# What a function must be called to be taken where nobody can see what it returns.
_SAYS_MODEL = re.compile(r"^(build|create|make|get)_?(model|net|network)\w*$", re.IGNORECASE)


@dataclass(frozen=True)
class FactoryFound:
    """A function that builds the model: ``module`` is imported, ``name`` is called with the options."""

    module: str
    name: str

    @property
    def spec(self) -> str:
        """As ``--model`` takes it."""
        return f"{self.module}:{self.name}"


@dataclass(frozen=True)
class _Candidate:
    found: FactoryFound
    # Names that it calls, and those of what it returns.
    calls: frozenset[str]
    returns: frozenset[str]


def find_factory(sources: Sequence[SourceFile], mounts: Mounts, label: str) -> FactoryFound:
    """The function that builds the model of the code called ``label``.

    Raises :class:`~gatescope.runtime.errors.UsageError` where there is none, or more than one that it can be.
    """
    models = _models(sources)
    pool = [
        candidate
        for source in sources
        if not _SCRIPT.match(source.place.stem) and (name := mounts.name_of(source.place)) is not None
        for candidate in _candidates(source.tree, name)
    ]
    known = {candidate.found.name for candidate in pool if candidate.returns & models}
    for _ in pool:  # a factory that returns what another one builds
        known |= {candidate.found.name for candidate in pool if candidate.returns & known}
    sure = [candidate for candidate in pool if candidate.found.name in known]
    left = sure or [candidate for candidate in pool if _SAYS_MODEL.match(candidate.found.name)]
    left = [one for one in left if not any(one.found.name in other.calls for other in left if other != one)]
    if len(left) > 1:
        used = _used_by_scripts(sources)
        left = [one for one in left if (one.found.module.rpartition(".")[2], one.found.name) in used] or left
    if len(left) == 1:
        return left[0].found
    if not left:
        raise _none_found(label, models)
    raise UsageError(
        f"{len(left)} functions of {label} can be the one that builds the model",
        received=", ".join(candidate.found.spec for candidate in left[:8]),
        expected="the one that training called",
        fix=f"name it: --code … --model {left[0].found.spec}",
    )


def _none_found(label: str, models: set[str]) -> UsageError:
    classes = f"; classes that take {_INPUT}: {', '.join(sorted(models)[:5])}" if models else ""
    return UsageError(
        f"no function of {label} is seen to build the model",
        received=f"no function of the training options that returns a module which takes {_INPUT}{classes}",
        expected="a function such as build_model(args)",
        fix="write one into that code and name it: --code DIR --model package.module:function",
    )


def _models(sources: Sequence[SourceFile]) -> set[str]:
    """Names of classes whose forward takes the features by name."""
    found: set[str] = set()
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef):
                forward = next(
                    (one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "forward"),
                    None,
                )
                if forward is not None and _INPUT in {one.arg for one in _parameters(forward)}:
                    found.add(node.name)
    inherits = {
        node.name: {_last_name(base) for base in node.bases}
        for source in sources
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
    }
    for _ in inherits:
        found |= {name for name, bases in inherits.items() if bases & found}
    return found


def _parameters(function: ast.FunctionDef) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def _candidates(tree: ast.Module, module: str) -> Iterator[_Candidate]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not _DOES_MORE.match(node.name) and _takes_options(node):
            returned = {name for value in _returned(node) for name in _callees(value, _assigned(node))}
            calls = {_last_name(one.func) for one in ast.walk(node) if isinstance(one, ast.Call)}
            yield _Candidate(FactoryFound(module, node.name), frozenset(calls), frozenset(returned))


def _takes_options(function: ast.FunctionDef) -> bool:
    """Whether one argument is enough to call it, and one is needed."""
    positional = [*function.args.posonlyargs, *function.args.args]
    needed = len(positional) - len(function.args.defaults)
    return needed == 1 and all(default is not None for default in function.args.kw_defaults)


def _returned(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """Every value that ``function`` may return, those inside a tuple, list or dict each by itself."""
    for node in _own_nodes(function):
        if isinstance(node, ast.Return) and node.value is not None:
            value = node.value
            if isinstance(value, ast.Tuple | ast.List):
                yield from value.elts
            elif isinstance(value, ast.Dict):
                yield from value.values
            else:
                yield value


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """What is inside ``node``, without the functions and classes defined there."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            yield child
            yield from _own_nodes(child)


def _assigned(function: ast.FunctionDef) -> dict[str, list[ast.expr]]:
    """Local name → everything it is set to."""
    found: dict[str, list[ast.expr]] = {}
    for node in _own_nodes(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                names = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
                for one in names:
                    if isinstance(one, ast.Name):
                        found.setdefault(one.id, []).append(node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found.setdefault(node.target.id, []).append(node.value)
    return found


def _callees(
    value: ast.expr, assigned: Mapping[str, Sequence[ast.expr]], seen: frozenset[str] = frozenset()
) -> set[str]:
    """The names of what was called to make ``value``: ``wrap(X(args)).to(device)`` gives wrap and X."""
    if isinstance(value, ast.Name):
        if value.id in seen:
            return set()
        every = assigned.get(value.id, ())
        return {name for one in every for name in _callees(one, assigned, seen | {value.id})}
    if isinstance(value, ast.Call):
        parts = [*value.args, *([value.func.value] if isinstance(value.func, ast.Attribute) else [])]
        inner = {name for part in parts for name in _callees(part, assigned, seen)}
        return inner | {_last_name(value.func)}
    if isinstance(value, ast.IfExp):
        return _callees(value.body, assigned, seen) | _callees(value.orelse, assigned, seen)
    if isinstance(value, ast.Subscript | ast.Attribute):
        return _callees(value.value, assigned, seen)
    return set()


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _used_by_scripts(sources: Sequence[SourceFile]) -> set[tuple[str, str]]:
    """(module's last name, function) that the training and inference scripts import."""
    scripts = [source for source in sources if _SCRIPT.match(source.place.stem)]
    return {
        (one.name.rpartition(".")[2], member)
        for script in scripts
        for one in imports_of(script.tree)
        for member in one.members
    }
