"""The wall around the monitor: what may come in, what it may reach for outside, and no circles within."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[3]
MONITOR = ("runtime", "monitor")

#: What of the rest of runtime the monitor may import: a folder, or a module of runtime's root.
MAY_IMPORT = {
    *("array_types", "brief", "errors", "files", "forks", "lazy", "progress"),
    *("gates", "statistics", "runs", "session", "data", "cli"),
}
#: Who may import the monitor: the lazy names of ``gatescope.runtime``. Commands come by entry points.
MAY_REACH_IN = {"runtime/__init__.py"}


def _imports(path: Path) -> set[tuple[str, ...]]:
    """Modules that a file imports from this package, as paths from the root; names may be their last part."""
    here = path.relative_to(ROOT).parts
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = tuple((node.module or "").split(".")) if node.module else ()
            if node.level:
                base = (*here[: len(here) - node.level], *module)
            elif module[:1] == ("gatescope",):
                base = module[1:]
            else:
                continue
            found |= {(*base, name.name) for name in node.names}
        elif isinstance(node, ast.Import):
            names = [tuple(name.name.split(".")) for name in node.names]
            found |= {name[1:] for name in names if name[0] == "gatescope"}
    return found


def _sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def test_nothing_outside_reaches_into_the_monitor() -> None:
    reaching = {
        str(path.relative_to(ROOT))
        for room in ("runtime", "export", "analysis")
        for path in _sources(ROOT / room)
        if path.relative_to(ROOT).parts[:2] != MONITOR
        and any(module[:2] == MONITOR for module in _imports(path))
    }
    assert reaching <= MAY_REACH_IN


def test_the_monitor_imports_of_runtime_only_what_is_listed() -> None:
    outside = {
        module[1]
        for path in _sources(ROOT.joinpath(*MONITOR))
        for module in _imports(path)
        if module[0] == "runtime" and module[:2] != MONITOR
    }
    assert outside <= MAY_IMPORT
    assert outside == MAY_IMPORT, "the list names more than the monitor imports"


def test_no_folders_of_the_monitor_import_each_other() -> None:
    """A module of its root counts as a folder: what a folder imports does not import that folder."""
    edges: dict[str, set[str]] = defaultdict(set)
    folder = ROOT.joinpath(*MONITOR)
    for path in _sources(folder):
        inside = path.relative_to(folder).parts
        own = inside[0].removesuffix(".py")
        if own == "__init__":
            continue
        edges[own] |= {
            module[2] for module in _imports(path) if module[:2] == MONITOR and len(module) > 2
        } - {own}
    mutual = {(one, other) for one in edges for other in edges[one] if one < other and one in edges[other]}
    assert mutual == set()
