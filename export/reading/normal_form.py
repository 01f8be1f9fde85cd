"""A piece of Python as text in which only what decides numbers is left, so that equal text computes alike.

Left out: comments and formatting (a syntax tree has none), docstrings, annotations, assertions, printing and
logging, the wording of errors, moves between devices, and how parameters are first drawn (a checkpoint brings
its own). Names are kept, also those of local variables.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import cast

# Fields of a node that change no number, or that differ between versions of Python.
_SILENT = ("ctx", "kind", "type_comment", "type_params", "type_ignores", "returns", "annotation", "simple")
_TALKING = ("print", "logger", "logging", "log", "warnings")
_MOVES = ("cuda", "cpu")


def normal_form(node: ast.AST) -> str:
    """``node`` as text; two nodes with the same text compute the same."""
    return _text(_Silenced().visit(node))


def stored_names(node: ast.AST) -> set[str]:
    """Names that ``node`` binds anywhere within: variables, arguments, functions, imports."""
    found: set[str] = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load):
            found.add(one.id)
        elif isinstance(one, ast.arg):
            found.add(one.arg)
        elif isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found |= {one.name} if one is not node else set()
        elif isinstance(one, ast.ExceptHandler):
            found |= {one.name} if one.name else set()
        elif isinstance(one, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name.partition(".")[0] for alias in one.names}
    return found


def loaded_names(node: ast.AST) -> set[str]:
    """Names that ``node`` reads, wherever in it."""
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}


def spoken_attributes(node: ast.AST) -> set[str]:
    """Attributes that ``node`` reads, and texts that may name one, as in ``getattr(self, "fuse")``."""
    found: set[str] = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Attribute):
            found.add(one.attr)
        elif isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value.isidentifier():
            found.add(one.value)
    return found


def silenced(node: ast.AST) -> ast.AST:
    """``node`` without what changes no number; it is changed in place."""
    return _Silenced().visit(node)


def first_result(function: ast.FunctionDef) -> ast.FunctionDef:
    """``function`` without the statements that have no part in the first thing it returns.

    A function that builds a model builds its loss as well, and returns both. What cannot be taken apart
    safely comes back whole.
    """
    last = function.body[-1] if function.body else None
    returns = [one for one in ast.walk(function) if isinstance(one, ast.Return)]
    if not isinstance(last, ast.Return) or len(returns) != 1:
        return function
    value = last.value.elts[0] if isinstance(last.value, ast.Tuple) and last.value.elts else last.value
    if not isinstance(value, ast.Name):
        return function
    needed, kept = {value.id}, list[ast.stmt]()
    for statement in reversed(function.body[:-1]):
        if _touched(statement) & needed:
            kept.insert(0, statement)
            needed |= loaded_names(statement)
    alone = copy.copy(function)
    alone.body = [*kept, ast.Return(value)]
    return alone


def _touched(statement: ast.stmt) -> set[str]:
    """Names that a statement binds, changes a part of, or calls a method of."""
    found = stored_names(statement)
    for one in ast.walk(statement):
        changed: ast.AST | None = None
        if isinstance(one, ast.Call):
            changed = one.func if isinstance(one.func, ast.Attribute) else None
        elif isinstance(one, (ast.Attribute, ast.Subscript)) and not isinstance(one.ctx, ast.Load):
            changed = one
        root = _root(changed)
        found |= {root} if root else set()
    return found


def _root(node: ast.AST | None) -> str | None:
    """The name that a chain of attributes, items and calls begins with."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


class _Silenced(ast.NodeTransformer):
    """Takes out what changes no number."""

    def visit(self, node: ast.AST) -> ast.AST:
        visited = cast(ast.AST, super().visit(node))
        for name in ("body", "orelse", "finalbody"):
            block = getattr(visited, name, None)
            if isinstance(block, list):
                kept = [one for one in cast(list[ast.AST], block) if not _says_nothing(one)]
                setattr(visited, name, kept)
        return visited

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        node.keywords = [one for one in node.keywords if one.arg not in ("device", "non_blocking")]
        if isinstance(node.func, ast.Attribute) and _moves(node):
            return node.func.value
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(exc=raised, cause=None)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        self.generic_visit(node)
        return node if node.value is None else ast.Assign(targets=[node.target], value=node.value)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)


def _moves(call: ast.Call) -> bool:
    """Whether a call of a method does nothing but take a tensor to a device."""
    assert isinstance(call.func, ast.Attribute)
    if call.func.attr in _MOVES:
        return True
    if call.func.attr != "to" or call.keywords or len(call.args) > 1:
        return False
    if not call.args:  # `device=` was its only argument
        return True
    (where,) = call.args
    if isinstance(where, ast.Constant):
        return isinstance(where.value, str) and where.value.startswith(_MOVES)
    name = where.attr if isinstance(where, ast.Attribute) else where.id if isinstance(where, ast.Name) else ""
    return "device" in name


def _says_nothing(statement: ast.AST) -> bool:
    """Whether a statement changes no number: text, a name alone, an assertion, something said to a person."""
    if isinstance(statement, (ast.Pass, ast.Assert, ast.Import, ast.ImportFrom)):
        return True
    if isinstance(statement, (ast.If, ast.For)):
        return not statement.body and not statement.orelse
    if not isinstance(statement, ast.Expr):
        return False
    value = statement.value
    if isinstance(value, ast.Call):
        return _root(value) in _TALKING or _draws(value)
    return isinstance(value, (ast.Constant, ast.Name))


def _draws(call: ast.Call) -> bool:
    """Whether it is one of PyTorch's ways to draw a parameter, as ``nn.init.zeros_(self.weight)``."""
    function = call.func
    if not isinstance(function, ast.Attribute):
        return False
    where = function.value
    return (where.attr if isinstance(where, ast.Attribute) else getattr(where, "id", "")) == "init"


def _text(node: object) -> str:
    if isinstance(node, ast.AST):
        parts = (
            f"{name}={_text(value)}"
            for name, value in ast.iter_fields(node)
            if name not in _SILENT and value is not None and value != []
        )
        return f"{type(node).__name__}({','.join(parts)})"
    if isinstance(node, list):
        return f"[{','.join(_text(one) for one in cast(list[object], node))}]"
    return repr(node)


def nodes_of(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module's top level, and those in its conditions and attempts."""
    for one in statements:
        yield one
        if isinstance(one, (ast.If, ast.Try, ast.With)):
            blocks = [one.body, getattr(one, "orelse", []), getattr(one, "finalbody", [])]
            blocks += [handler.body for handler in getattr(one, "handlers", [])]
            for block in blocks:
                yield from nodes_of(block)
