"""One name, one meaning; and no two folders that import each other."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from .test_layout import ROOMS, ROOT, modules

#: Names that a protocol asks for: every module of a command has its ``command``.
PROTOCOL = {"command"}
#: Private names that tests replace, each with the reason why nothing public does.
REPLACED = {
    "_allocate_lock": "of Python's threading: the collector is to run exactly where a lock is asked for",
    "_exit": "of Python's os, and public there",
    "_ended": "what another process does between two steps of reading a folder of states",
    "_read": "the same",
    "_remove": "a crash between two steps of folding states",
    "_write": "a disk that is full at one step of folding states",
    "_round": "counts the rounds of a worker whose monitor is gone",
    "_lay_out_next": "how many batches are in memory is not public either",
    "_registered": "plugins that other tests left registered",
}


def defined(tree: ast.Module) -> set[str]:
    """Names without an underscore that a module defines at its top."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return {name for name in found if not name.startswith("_")}


def homonyms() -> dict[str, list[str]]:
    """Names that more than one module defines, and these modules."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in modules():
        if path.name != "__init__.py":
            for name in defined(ast.parse(path.read_text(encoding="utf-8"))):
                places[name].append(str(path.relative_to(ROOT)))
    return {name: own for name, own in places.items() if len(own) > 1}


def imported() -> dict[str, set[str]]:
    """By module (``runtime/runs/info``), the modules of ours that it imports, wherever in it."""
    names = {str(path.relative_to(ROOT).with_suffix("")) for path in modules()}
    found: dict[str, set[str]] = {}
    for path in modules():
        here = path.relative_to(ROOT)
        if path.name == "__init__.py":
            continue
        own = found[str(here.with_suffix(""))] = set[str]()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = [
                    *here.parts[: len(here.parts) - node.level],
                    *filter(None, (node.module or "").split(".")),
                ]
                whole = "/".join(base)
                own |= {whole} if whole in names else {f"{whole}/{one.name}" for one in node.names}
        own &= names
    return found


def folder_of(module: str) -> str:
    return str(Path(module).parent)


def inside(folder: str, other: str) -> bool:
    return folder.startswith(f"{other}/")


def circles(found: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Pairs of folders, neither inside the other, that import each other."""
    edges = {(folder_of(one), folder_of(other)) for one, own in found.items() for other in own}
    apart = {(a, b) for a, b in edges if a != b and not inside(a, b) and not inside(b, a)}
    return {(a, b) for a, b in apart if a < b and (b, a) in apart}


def knots(found: dict[str, set[str]]) -> set[tuple[str, str]]:
    """(module, folder below it) where the folder imports the module and the module imports the folder."""
    return {
        (module, folder)
        for module, own in found.items()
        for folder in {folder_of(other) for other in own if inside(folder_of(other), folder_of(module))}
        if any(module in theirs for one, theirs in found.items() if folder_of(one) == folder)
    }


def test_a_name_has_one_meaning() -> None:
    assert {name: own for name, own in homonyms().items() if name not in PROTOCOL} == {}


def replaced(tree: ast.AST) -> set[str]:
    """Private names that a test module replaces by ``setattr`` of a monkeypatch, by object or dotted path."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "setattr"
        ):
            texts = [one.value for one in node.args[:2] if isinstance(one, ast.Constant)]
            found |= {name for text in texts if (name := str(text).rpartition(".")[2]).startswith("_")}
    return {name for name in found if not name.startswith("__")}


def test_tests_replace_public_names() -> None:
    """A limit or pause that a test sets is public in its module; elsewhere a function takes an argument."""
    found = {
        name: str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for name in replaced(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert {name: path for name, path in found.items() if name not in REPLACED} == {}
    assert set(found) == set(REPLACED), "no longer replaced: take it off the list"


def test_replaced_names_are_seen() -> None:
    source = (
        'p.setattr(a, "_b", 1); m.setattr("c.d._e", 2); p.setattr(a, "__len__", 3); p.setattr(a, "f", "_g")'
    )
    assert replaced(ast.parse(source)) == {"_b", "_e"}


def test_no_two_folders_import_each_other() -> None:
    found = imported()
    assert circles(found) == set()
    assert knots(found) == set()
    assert set(map(str, ROOMS)) == {module.partition("/")[0] for module in found}


def test_circles_and_knots_are_seen() -> None:
    found = {
        "a/x": {"b/y"},
        "b/y": set[str](),
        "b/z": {"a/x"},
        "c/up": {"c/down/one"},
        "c/down/one": {"c/other"},
        "c/down/two": {"c/up"},
        "c/other": set[str](),
    }
    assert circles(found) == {("a", "b")}
    assert knots(found) == {("c/up", "c/down")}
